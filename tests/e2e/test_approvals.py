"""Approvals on the real servers: a push that nobody let through stays out, and two people of Gitea let it in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.harness import Shop, Sluice, files, settings_of
from tests.e2e.test_pushes import ask_flux
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROD, STAGING = "production", "staging"
BOTH = (STAGING, PROD)


def rules(gitea: Gitea) -> str:
    """Gitea has no role between write and admin, so the approvers are named."""
    approvers = [f"user:{each.name}" for each in (gitea.owner, gitea.writer2)]
    environments = {
        name: {"path": f"deploy/{name}", "approvals": number, "approvers": approvers}
        for name, number in ((STAGING, 1), (PROD, 2))
    }
    return yaml.safe_dump({"version": 1, "environments": environments})


def change(text: str) -> dict[str, str]:
    """What both environments are made of is another."""
    return {f"deploy/{name}/settings.yaml": settings_of(name, said=text) for name in BOTH}


@pytest.fixture
def shop(control_plane: ControlPlane, gitea: Gitea) -> Iterator[Shop]:
    with Sluice(control_plane, gitea) as sluice:
        yield Shop(sluice, {**files(BOTH), ".sluice.yaml": rules(gitea)}, name="approved")


def test_only_what_is_approved_gets_there(shop: Shop) -> None:
    """By the request that it was enabled on, by a merged request, and from the command line for a direct push."""
    walter, first = shop.gitea.writer2, shop.head()
    number = shop.pull(title="Set it up")
    shop.say(number, "/enable")
    shop.answered(number, "wait to be let through")
    shop.say(number, "/approve", by=walter)
    shop.say(number, "/approve production")
    for name in BOTH:
        assert shop.ended(first, name)[0] == "success"
        assert shop.live(name) == first

    stays_out(shop, first)
    merged, second = merged_between(shop)
    assert shop.ended(second, PROD) == ("skipped", f"Superseded by {merged[:7]}")

    again = shop.push(change("pushed"))
    assert shop.pending(again, STAGING, "Waiting")[0] == "pending"
    done = shop.sluice.run("approve", shop.repository, STAGING, again)
    assert done.returncode == 0, done
    assert shop.ended(again, STAGING)[0] == "success"
    assert shop.live(STAGING) == again
    assert shop.live(PROD) == merged


def stays_out(shop: Shop, first: str) -> None:
    """A push while Sluice is down reaches nothing that is protected, whatever Flux is asked."""
    shop.sluice.stop()
    shop.push(change("while Sluice was down"))
    for name in BOTH:
        ask_flux(shop, "GitRepository", f"pin-{name}")
        ask_flux(shop, "Kustomization", name)
        assert shop.live(name) == first
    shop.sluice.start()


def merged_between(shop: Shop) -> tuple[str, str]:
    """One voice is on what was pushed; a merge takes its place, and that takes two anew."""
    walter, second = shop.gitea.writer2, shop.head()
    assert shop.pending(second, PROD, "0 of 2 approvals")[0] == "pending"
    done = shop.sluice.run("approve", shop.repository, PROD, second[:10])
    assert done.returncode == 0, done
    shop.pending(second, PROD, "1 of 2 approvals")

    number = shop.pull(change("merged"))
    shop.writer.merge_pull(shop.repository, number)
    shop.answered(number, "0 of 2 approvals are there")
    merged = shop.head()
    shop.say(number, "/approve production", by=walter)
    shop.answered(number, "1 of 2 approvals are there")
    assert shop.live(PROD) != merged
    shop.say(number, "/approve production")
    assert shop.ended(merged, PROD)[0] == "success"
    assert shop.live(PROD) == merged
    return merged, second
