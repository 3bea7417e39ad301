"""What goes wrong in an environment, and what people read about it: the cases of design section 3, in Flux's words.

Most of their time is Flux's, and an enabled repository costs most of the rest: cases are played one after the other
in one repository, and several repositories at the same time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from bot.flux.cluster import MANAGER
from tests.e2e.harness import Shop, Sluice, config, files, kustomization, settings_of, web
from tests.servers.objects import Object, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

DEV = "development"
FOLDER = f"deploy/{DEV}"
LONG = 100.0
"""Seconds for what Flux tries twice, half a minute apart."""


@dataclass(frozen=True)
class Outcome:
    """What became of a bad commit, and of the fix that was pushed after it."""

    shop: Shop
    bad: str
    state: str
    text: str
    fix: str = ""
    live: str | None = None  # when the fix had ended: the next case goes on in the same repository

    @property
    def fixed(self) -> list[str]:
        """The states that the fix went through."""
        return [state for state, _ in self.shop.statuses(self.fix, DEV)]


def one_environment(sluice: Sluice, **fields: str) -> Shop:
    """A repository with development alone, enabled."""
    shop = Shop(sluice, {**files([DEV]), ".sluice.yaml": config(DEV, **fields)})
    shop.enable([DEV])
    return shop


def said(shop: Shop, bad: str) -> Outcome:
    """The outcome of a commit once it has one."""
    state, text = shop.ended(bad, DEV, LONG)
    return Outcome(shop, bad, state, text)


def mended(outcome: Outcome, changes: dict[str, str | None]) -> Outcome:
    """Push a fix and wait for its end."""
    return _lived(outcome, outcome.shop.push(changes, message="Mend it"))


def _lived(outcome: Outcome, fix: str) -> Outcome:
    outcome.shop.ended(fix, DEV)
    return replace(outcome, fix=fix, live=outcome.shop.live(DEV))


# The cases: each leaves its repository as good as it was.


def wrong_path(shop: Shop) -> Outcome:
    """The folder goes, and comes back."""
    bad = shop.push({f"{FOLDER}/kustomization.yaml": None, f"{FOLDER}/settings.yaml": None})
    back = {name: text for name, text in files([DEV]).items() if name.startswith(FOLDER)}
    return mended(said(shop, bad), dict(back))


def build_error(shop: Shop) -> Outcome:
    """A resource that is not there."""
    bad = shop.push({f"{FOLDER}/kustomization.yaml": kustomization("../base", "nowhere.yaml")})
    return mended(said(shop, bad), {f"{FOLDER}/kustomization.yaml": kustomization("../base", "settings.yaml")})


def not_accepted(shop: Shop) -> Outcome:
    """An object that the API server does not take: Flux tries again, and the second failure is final."""
    bad = shop.push({"deploy/base/web.yaml": web().replace("app: web", "app: Not valid!", 1)})
    return mended(said(shop, bad), {"deploy/base/web.yaml": web("web:2")})


def missing_namespace(shop: Shop) -> Outcome:
    """Somebody deleted the target namespace; `/enable` makes it again."""
    target = shop.target(DEV)
    shop.plane.operator.delete("Namespace", target)
    shop.plane.admin.wait_gone("Namespace", target, seconds=60)
    return enabled_again(shop)


def missing_rights(shop: Shop) -> Outcome:
    """Somebody deleted the account's binding; `/enable` makes it again."""
    shop.plane.operator.delete("RoleBinding", f"sluice-{DEV}", shop.target(DEV))
    return enabled_again(shop)


def _healthy(shop: Shop) -> Object:
    return condition(shop.kustomization(DEV), "Healthy")


def enabled_again(shop: Shop) -> Outcome:
    """A push fails; another `/enable` brings that same commit out, and the next push is as good as any."""
    outcome = said(shop, shop.push({f"{FOLDER}/settings.yaml": settings_of(DEV, colour="red")}))
    return mended(after_enable(outcome), {f"{FOLDER}/settings.yaml": settings_of(DEV, colour="green")})


def after_enable(outcome: Outcome) -> Outcome:
    """The commit that failed is live after `/enable`."""
    shop = outcome.shop
    number = shop.pull()
    shop.say(number, "/enable")
    shop.answered(number, "GitOps is set up")
    shop.until(lambda: shop.ended(outcome.bad, DEV)[0] == "success", "the commit is live after /enable", LONG)
    return outcome


def unhealthy(shop: Shop) -> Outcome:
    """No node can take the Deployment's Pod; the timeout is the environment's own."""
    bad = shop.push({"deploy/base/web.yaml": web("web:2", impossible=True)})
    return mended(said(shop, bad), {"deploy/base/web.yaml": web("web:3")})


def unhealthy_for_long(shop: Shop) -> Outcome:
    """The fix comes while Flux still waits for the bad release to get healthy."""
    bad = shop.push({"deploy/base/web.yaml": web("web:2", impossible=True)})
    shop.until(lambda: "health checks" in _healthy(shop).get("message", ""), "Flux waits for health")
    fix = shop.push({"deploy/base/web.yaml": web("web:3")})
    return _lived(said(shop, bad), fix)


def suspended(shop: Shop) -> Outcome:
    """Somebody suspended the Kustomization, and resumes it before the next push."""
    shop.suspend(DEV)
    outcome = said(shop, shop.push({f"{FOLDER}/settings.yaml": settings_of(DEV, colour="red")}))
    shop.suspend(DEV, on=False)
    return mended(outcome, {f"{FOLDER}/settings.yaml": settings_of(DEV, colour="green")})


def revoked_token(shop: Shop) -> Outcome:
    """The operator's old token, which Flux fetches with, is revoked in Gitea; `/enable` writes the new one."""
    bot, name = shop.gitea.bot, f"flux-{shop.name}"
    _written(shop, bot.create_token(name, ["read:repository"]))
    bot.revoke_token(name)
    return enabled_again(shop)


def _written(shop: Shop, token: str) -> None:
    """Flux's Secret as a Sluice writes it whose operator has this token."""
    secret = shop.plane.get("Secret", shop.source()["spec"]["secretRef"]["name"], shop.namespace)
    assert secret is not None
    metadata = {each: secret["metadata"].get(each) for each in ("name", "namespace", "labels", "annotations")}
    data = {**secret["data"], "password": base64.b64encode(token.encode()).decode()}
    shop.plane.admin.apply({**secret, "metadata": metadata, "data": data}, manager=MANAGER)


Case = Callable[[Shop], Outcome]


@dataclass(frozen=True)
class Play:
    """Cases that are played one after the other in one repository, whose environment has these fields."""

    cases: tuple[Case, ...]
    fields: Mapping[str, str] = field(default_factory=dict)

    def begin(self, sluice: Sluice, ends: Mapping[Case, Future[Outcome]]) -> None:
        """Play all; after one that went wrong the next gets a new repository."""
        shop: Shop | None = None
        for case in self.cases:
            try:
                shop = shop or one_environment(sluice, **self.fields)
                end = case(shop)
                shop = shop if end.live == end.fix else None
                ends[case].set_result(end)
            except Exception as error:
                ends[case].set_exception(error)
                shop = None


PLAYS = (
    Play((missing_rights, unhealthy), {"timeout": "30s"}),
    Play((missing_namespace, revoked_token)),
    Play((wrong_path, build_error, suspended, not_accepted, unhealthy_for_long), {"timeout": "5m"}),
)
CASES = tuple(case for play in PLAYS for case in play.cases)


class Cases:
    """All cases, under way."""

    def __init__(self, sluice: Sluice, pool: ThreadPoolExecutor) -> None:
        self._ends: dict[Case, Future[Outcome]] = {case: Future() for case in CASES}
        for each in PLAYS:
            pool.submit(each.begin, sluice, self._ends)

    def __getitem__(self, case: Case) -> Outcome:
        return self._ends[case].result()


@pytest.fixture(scope="module")
def cases(sluice: Sluice) -> Iterator[Cases]:
    """They begin with the first test, and each test waits for its own."""
    with ThreadPoolExecutor(len(PLAYS)) as pool:
        yield Cases(sluice, pool)


# What is to be seen.


def test_wrong_path(cases: Cases) -> None:
    """At once, without Flux's temporary folder."""
    found = cases[wrong_path]
    words = f"kustomization path not found: stat {FOLDER}: no such file or directory"
    assert (found.state, found.text) == ("failure", f"Failed: {words}")


def test_build_error(cases: Cases) -> None:
    """At once, in kustomize's words."""
    found = cases[build_error]
    assert found.state == "failure"
    assert found.text.startswith("Failed: kustomize build failed: accumulating resources:")
    assert "nowhere.yaml" in found.text


def test_what_the_api_server_refuses(cases: Cases) -> None:
    """Said as pending first, because Flux tries again; the second time is the last."""
    found = cases[not_accepted]
    assert found.state == "failure"
    assert "Deployment" in found.text
    assert "dry-run failed" in found.text
    retries = [text for state, text in found.shop.statuses(found.bad, DEV) if "Flux retries" in text]
    assert retries


@pytest.mark.parametrize("case", [missing_namespace, missing_rights], ids=lambda case: str(case.__name__))
def test_missing_namespace_or_rights(cases: Cases, case: Case) -> None:
    """Both read the same in Kubernetes: the account is refused."""
    found = cases[case]
    assert found.state == "failure"
    assert found.text.startswith("Failed: ")
    assert "dry-run failed (Forbidden)" in found.text
    retries = [text for state, text in found.shop.statuses(found.bad, DEV) if state == "pending" and "retries" in text]
    assert retries


def test_health_check_failed(cases: Cases) -> None:
    """After the environment's own timeout (Flux takes none below 30 s), naming the object that did not get Ready."""
    found = cases[unhealthy]
    assert found.state == "failure"
    assert found.text.startswith("Failed: health check failed after 30")
    assert f"Deployment/{found.shop.target(DEV)}/web" in found.text


def test_a_fix_overtakes_a_release_that_is_not_healthy(cases: Cases) -> None:
    """The bad one is superseded before Flux gives up on it; five minutes were not waited for."""
    found = cases[unhealthy_for_long]
    assert (found.state, found.text) == ("skipped", f"Superseded by {found.fix[:7]}")


def test_suspended(cases: Cases) -> None:
    """Flux would never do it, so it is said at once."""
    found = cases[suspended]
    assert (found.state, found.text) == (
        "failure",
        f"Failed: Kustomization {DEV} is suspended: Flux leaves it alone",
    )


def test_revoked_token(cases: Cases) -> None:
    """The source's own words, and no token in them."""
    found = cases[revoked_token]
    assert found.state == "failure"
    assert found.text.startswith("Failed: ")
    assert "authentication required" in found.text or "unable to clone" in found.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_a_fix_ends_green_without_a_red_flash(cases: Cases, case: Case) -> None:
    """The fix's commit goes from pending to success; the bad one keeps its one last word."""
    found = cases[case]
    assert found.fixed == ["pending"] * (len(found.fixed) - 1) + ["success"]
    assert found.live == found.fix
    ends = [state for state, _ in found.shop.statuses(found.bad, DEV) if state != "pending"]
    again = case in (missing_namespace, missing_rights, revoked_token)  # `/enable` deployed the same commit once more
    assert ends == [found.state, *(["success"] if again else [])]
