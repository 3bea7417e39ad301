"""Going back on the real servers: over a release that never gets ready, with Flux's gate, and without the forge."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import pytest

from tests.e2e.harness import SECONDS, Shop, Sluice, config, files, kustomization, web
from tests.e2e.proxy import Proxy
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea
from tests.servers.gitea_account import Files
from tests.servers.objects import condition
from tests.servers.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROD, PIN = "production", "pin-production"
OFTEN = 0.02


def start(timeout: str = "5m") -> Files:
    """Production alone, for whose health Flux waits so long."""
    return {**files([PROD]), ".sluice.yaml": config(PROD, timeout=timeout)}


class Lane:
    """A Sluice and a Flux whose ways to Gitea lead through a proxy."""

    def __init__(self, sluice: Sluice, forge: Proxy) -> None:
        self.sluice, self.forge = sluice, forge

    def stuck(self, timeout: str) -> Stuck:
        """A repository whose production is in the middle of a release that can never get ready."""
        return Stuck(Proxied(self, timeout))

    def down(self, down: bool = True) -> None:
        """Gitea answers nobody who asks it anything; who fetches is served."""
        self.forge.refused = lambda request: down and request.path.startswith("/api/")


class Proxied(Shop):
    """A shop that Flux fetches through the lane's proxy."""

    def __init__(self, lane: Lane, timeout: str) -> None:
        super().__init__(lane.sluice, start(timeout), name="back")
        self.url = f"{lane.forge.url}/{self.repository}.git"

    @functools.cached_property
    def namespace(self) -> str:
        """Known by the address at which Flux fetches."""
        sources = self.plane.admin.list("GitRepository", selector="app.kubernetes.io/managed-by=sluice")
        return str(next(each["metadata"]["namespace"] for each in sources if each["spec"]["url"] == self.url))


class Stuck:
    """Production had `good`, and Flux waits for the health of `bad`."""

    def __init__(self, shop: Shop, *, changed: bool = False) -> None:
        """The bad one adds a workload that no node can take, or has made such a one of what ran (`changed`)."""
        self.shop, self.changed = shop, changed
        self.number = shop.enable([PROD])
        self.good = shop.head()
        worse = web("web:2", impossible=True)
        more = {
            "deploy/base/kustomization.yaml": kustomization("web.yaml", "worker.yaml"),
            "deploy/base/worker.yaml": worse.replace("name: web", "name: worker"),
        }
        self.bad = shop.push({"deploy/base/web.yaml": worse} if changed else more)
        self.wait_for_health()

    def wait_for_health(self) -> None:
        """Until Flux waits for the health of the bad one."""
        until(self._waits, SECONDS, "Flux waits for the bad release")

    def _waits(self) -> bool:
        found = self.shop.kustomization(PROD)
        attempted = str(found.get("status", {}).get("lastAttemptedRevision", ""))
        return attempted.endswith(self.bad) and "health checks" in condition(found, "Healthy").get("message", "")

    def go_back(self) -> tuple[float, float]:
        """Seconds from the comment until the old revision is Ready again, and how many of them after the pin moved."""
        asked = time.monotonic()
        self.shop.say(self.number, "/rollback production")
        until(self.pinned, SECONDS, "the pin", every=OFTEN)
        pinned = time.monotonic()
        until(self.back, SECONDS, "the old revision is Ready", every=OFTEN)
        ended = time.monotonic()
        return ended - asked, ended - pinned

    def pinned(self) -> bool:
        """Whether the environment's own source says the good one."""
        found = self.shop.plane.get("GitRepository", PIN, self.shop.namespace)
        return found is not None and found["spec"]["ref"].get("commit") == self.good

    def back(self) -> bool:
        """Whether the good one is applied, Ready, and by the pin."""
        source = self.shop.kustomization(PROD)["spec"]["sourceRef"]["name"]
        return source == PIN and self.shop.live(PROD) == self.good


@pytest.fixture
def lane(control_plane: ControlPlane, gitea: Gitea) -> Iterator[Lane]:
    with (
        Proxy.to_url(gitea.url, gitea.host) as forge,
        Sluice(control_plane, gitea, {"SLUICE_GITEA_URL": forge.url}) as sluice,
    ):
        yield Lane(sluice, forge)


def test_over_a_release_that_never_gets_ready(lane: Lane) -> None:
    """The old revision is Ready again (test_timing.py: how soon); resumed, and then the same with the forge down."""
    stuck = lane.stuck("5m")
    shop = stuck.shop

    stuck.go_back()
    assert shop.ended(stuck.good, PROD)[0] == "success"
    assert shop.ended(stuck.bad, PROD) == ("skipped", f"Superseded by {stuck.good[:7]}")
    answer = shop.answered(stuck.number, "goes back to")
    assert "feature gate" not in answer

    shop.say(stuck.number, "/resume production")
    shop.answered(stuck.number, "follows `main` again")
    stuck.wait_for_health()
    lane.down()
    done = lane.sluice.run("rollback", shop.repository, PROD)
    assert done.returncode == 0, done
    assert "The forge did not answer" in done.stdout
    assert stuck.back()
    lane.down(False)
    assert shop.ended(stuck.good, PROD)[0] == "success"


def test_without_the_gate_the_answer_says_when(lane: Lane, control_plane: ControlPlane) -> None:
    """Flux waits for the health checks of the bad one first; when the answer said, the rollback takes effect."""
    if control_plane.foreign:
        pytest.skip("the Flux of a cluster that was handed in is not ours to restart")
    control_plane.restart_flux(cancel_health_check=False)
    try:
        stuck = lane.stuck("30s")
        stuck.shop.say(stuck.number, "/rollback production")
        answer = stuck.shop.answered(stuck.number, "goes back to")
        assert "without its feature gate CancelHealthCheckOnNewRevision" in answer
        assert "takes effect at " in answer
        until(stuck.pinned, SECONDS, "the pin")
        assert not stuck.back()
        until(stuck.back, SECONDS, "the old revision is Ready")
    finally:
        control_plane.restart_flux(cancel_health_check=True)
