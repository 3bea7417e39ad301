"""Pins on the real servers: `/deploy` of a request's head, what happens to its branch, and the way back."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.harness import Shop, Sluice, kustomization, web
from tests.e2e.test_pushes import ask_flux, deployments, development, looked_at, news, one_end, settle, value
from tests.servers.gitea_account import Files
from tests.servers.objects import Object, condition

pytestmark = pytest.mark.e2e

OWN = "pin-development"
KEEP = "sluice/keep/"
WEB: Files = {
    "deploy/development/kustomization.yaml": kustomization("settings.yaml", "web.yaml"),
    "deploy/development/web.yaml": web(),
}


@pytest.fixture
def pinned(little: Shop) -> Pinned:
    """A repository whose development is pinned to the head of a request."""
    return Pinned(little)


class Pinned:
    """A shop with a request that development is pinned to."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.text, self.on_main = shop, news(), value(shop)
        self.branch = f"topic-{self.text}"
        self.number = shop.pull(development(self.text), branch=self.branch)
        self.head = shop.head(self.branch)
        shop.say(self.number, "/deploy development", by=shop.writer)
        assert shop.ended(self.head, "development")[0] == "success"
        assert value(shop) == self.text

    def stays(self) -> None:
        """Development is as the request has it, whatever Flux is asked."""
        for kind, name in (("GitRepository", "branch-main"), ("GitRepository", OWN), ("Kustomization", "development")):
            ask_flux(self.shop, kind, name)
        assert self.shop.live("development") == self.head
        assert value(self.shop) == self.text
        assert _source_of(self.shop) == OWN


def follows_again(shop: Shop, head: str) -> None:
    """Development follows main at its head, and nothing is left of the pin."""
    assert shop.ended(head, "development")[0] == "success"
    shop.until(lambda: shop.plane.get("GitRepository", OWN, shop.namespace) is None, "the own source is gone")
    shop.until(lambda: not _kept(shop), "the branch that kept it is gone")
    settle(shop)
    assert _source_of(shop) == "branch-main"
    assert shop.live("development") == head
    assert shop.statuses(head, "development")[-1][0] == "success"


def _source_of(shop: Shop, environment: str = "development") -> str:
    return str(shop.kustomization(environment)["spec"]["sourceRef"]["name"])


def _kept(shop: Shop) -> list[str]:
    """The branches that Sluice made."""
    return [name for name in shop.owner.branches(shop.repository) if name.startswith(KEEP)]


def _uid(shop: Shop, kind: str, name: str) -> str:
    found = shop.in_target("development", kind, name)
    assert found is not None, f"{kind} {name} is gone"
    return str(found["metadata"]["uid"])


def _fingerprint(shop: Shop) -> dict[str, tuple[object, ...]]:
    """What somebody writes into Flux's objects, or asks of them, changes this."""
    found = [*shop.plane.admin.list("GitRepository", shop.namespace)]
    found += shop.plane.admin.list("Kustomization", shop.namespace)
    return {
        f"{each['kind']} {each['metadata']['name']}": (
            each["metadata"]["uid"],
            each["metadata"]["generation"],
            tuple(sorted((each["metadata"].get("annotations") or {}).items())),
        )
        for each in found
    }


# The way there.


def test_a_requests_head_is_pinned_until_the_merge(little: Shop) -> None:
    """Development gets a source of its own, and is switched to it only after that holds the commit.

    The merge unpins it: it follows main again, and its workloads are the same.
    """
    shop, text = little, news()
    assert shop.ended(shop.push(WEB), "development")[0] == "success"
    before = {each: _uid(shop, *each) for each in (("ConfigMap", "settings"), ("Deployment", "web"))}
    number = shop.pull(development(text), branch=f"topic-{text}")
    head = shop.head(f"topic-{text}")
    sources, switches = _pinning(shop, number, head)
    assert sources[-1]["spec"]["ref"] == {"branch": f"topic-{text}", "commit": head}
    assert sources[-1]["metadata"]["annotations"]["sluice/deployment"] == str(len(deployments(shop)))
    switched = next(each for each in switches if each["spec"]["sourceRef"]["name"] == OWN)
    assert _version(switched) > _version(sources[-1]), "switched before the source held the commit"
    assert [each for each in switches if condition(each).get("status") == "False"] == []
    assert {each: _uid(shop, *each) for each in before} == before
    assert value(shop) == text
    settle(shop)
    assert one_end(shop, head, "development")[0] == "success"
    assert f"pinned to #{number}" in shop.answered(number, "✓ `/deploy development`")
    assert len(shop.answers(number)) == 1
    follows_again(shop, shop.owner.merge_pull(shop.repository, number))
    assert {each: _uid(shop, *each) for each in before} == before
    assert value(shop) == text
    after = shop.push(development(news()))
    assert shop.ended(after, "development")[0] == "success"


def _pinning(shop: Shop, number: int, head: str) -> tuple[list[Object], list[Object]]:
    """Pin development to a request's head: every version of its own source and of its Kustomization on the way."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        source = pool.submit(_seen, shop, "GitRepository", OWN, lambda each: _artifact(each).endswith(head))
        switch = pool.submit(_seen, shop, "Kustomization", "development", lambda each: _live_by(each, OWN, head))
        shop.say(number, "/deploy development", by=shop.writer)
        assert shop.ended(head, "development")[0] == "success"
        return source.result(), switch.result()


def _seen(shop: Shop, kind: str, name: str, last: Callable[[Object], bool]) -> list[Object]:
    """Every version of an object up to the one that was waited for."""
    found = []
    for each in shop.plane.admin.watch(kind, name, shop.namespace, 45):
        found.append(each)
        if last(each):
            return found
    raise AssertionError(f"{kind} {name} did not get there: {found[-1:]}")


def _artifact(source: Object) -> str:
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision", ""))


def _live_by(found: Object, source: str, commit: str) -> bool:
    status: dict[str, Any] = found.get("status") or {}
    applied = str(status.get("lastAppliedRevision", "")).endswith(commit)
    return found["spec"]["sourceRef"]["name"] == source and applied and condition(found).get("status") == "True"


def _version(found: Object) -> int:
    """One store numbers the changes of all kinds."""
    return int(found["metadata"]["resourceVersion"])


def test_a_push_to_main_does_not_reach_a_pin(pinned: Pinned) -> None:
    """It says nothing about development, and a later push to the request does not move the pin either."""
    shop, on_main, on_request = pinned.shop, news(), news()
    commit = shop.push(development(on_main))
    looked_at(shop, commit, "is pinned to")
    pinned.stays()
    later = shop.push(development(on_request), branch=pinned.branch)
    settle(shop)
    pinned.stays()
    assert shop.contexts(commit) == set()
    assert shop.contexts(later) == set()
    shop.say(pinned.number, "/deploy development --behind", by=shop.writer)
    assert shop.ended(later, "development")[0] == "success"
    assert shop.source(OWN)["spec"]["ref"] == {"branch": pinned.branch, "commit": later}
    assert value(shop) == on_request
    shop.owner.close_pull(shop.repository, pinned.number)
    follows_again(shop, shop.head())
    assert value(shop) == on_main


def test_a_stranger_and_a_fork_are_refused(little: Shop) -> None:
    """Nothing is written: neither for a reader's command nor for a fork's head, whoever asks."""
    shop = little
    number = shop.pull(development(news()))
    shop.owner.set_collaborator(shop.repository, shop.forker.name, "read")
    fork = shop.forker.fork(shop.repository, f"fork-{shop.name}")
    head = shop.forker.commit(fork, development(news()), new_branch="theirs")
    foreign = shop.forker.open_pull(shop.repository, f"{shop.forker.name}:theirs", title="From outside")
    before = _fingerprint(shop)
    shop.say(number, "/deploy development", by=shop.reader)
    shop.say(foreign, "/deploy development", by=shop.owner)
    assert "not_permitted" in shop.answered(number, "✗ `/deploy development`")
    assert "fork_not_allowed" in shop.answered(foreign, "✗ `/deploy development`")
    shop.say(foreign, f"/deploy development {head}", by=shop.owner)
    shop.answered(foreign, f"✗ `/deploy development {head}")
    settle(shop)
    assert _fingerprint(shop) == before
    assert shop.contexts(head) == set()
    assert len(shop.answers(foreign)) == 1
    for each in (number, foreign):
        shop.owner.close_pull(shop.repository, each)
    shop.owner.remove_collaborator(shop.repository, shop.forker.name)


# The request's branch.


def test_a_deleted_branch_is_kept(pinned: Pinned) -> None:
    """The request's branch goes under the pin: one of Sluice's own keeps the commit in Flux's reach."""
    shop, uid = pinned.shop, _uid(pinned.shop, "ConfigMap", "settings")
    issue = _keep_open(shop, pinned.number)
    shop.owner.delete_branch(shop.repository, pinned.branch)
    shop.until(lambda: shop.source(OWN)["spec"]["ref"]["branch"].startswith(KEEP), "the pin goes by another branch")
    assert shop.owner.pull(shop.repository, pinned.number)["state"] == "open"
    assert [shop.head(name) for name in _kept(shop)] == [pinned.head]
    pinned.stays()
    assert condition(shop.source(OWN))["status"] == "True"
    assert _uid(shop, "ConfigMap", "settings") == uid
    settle(shop)
    assert one_end(shop, pinned.head, "development")[0] == "success"
    shop.owner.request("PATCH", f"/repos/{shop.repository}/issues/{issue}", json={"state": "closed"})
    shop.owner.close_pull(shop.repository, pinned.number)
    follows_again(shop, shop.head())


def _keep_open(shop: Shop, number: int) -> int:
    """Gitea closes a request whose branch is deleted, unless it depends on an issue that is open; that one's number."""
    base = f"/repos/{shop.repository}/issues"
    owner, name = shop.repository.split("/")
    issue = int(shop.owner.request("POST", base, json={"title": "First this"})["number"])
    body = {"owner": owner, "repo": name, "index": issue}
    shop.owner.request("POST", f"{base}/{number}/dependencies", json=body)
    return issue


def test_a_deleted_branch_that_closes_its_request(pinned: Pinned) -> None:
    """That is what Gitea makes of it: the branch is kept until the pin has ended, and not longer."""
    shop = pinned.shop
    shop.owner.delete_branch(shop.repository, pinned.branch)
    shop.until(lambda: shop.owner.pull(shop.repository, pinned.number)["state"] == "closed", "Gitea closes the request")
    follows_again(shop, shop.head())
    assert value(shop) == pinned.on_main


def test_a_rewritten_branch_is_kept(pinned: Pinned) -> None:
    """The request's branch is force-pushed under the pin: the commit that was deployed stays."""
    shop = pinned.shop
    other = shop.writer.force_push(shop.repository, pinned.branch, development(news()), onto=shop.head())
    assert shop.head(pinned.branch) == other
    shop.until(lambda: shop.source(OWN)["spec"]["ref"]["branch"].startswith(KEEP), "the pin goes by another branch")
    assert [shop.head(name) for name in _kept(shop)] == [pinned.head]
    pinned.stays()
    assert condition(shop.source(OWN))["status"] == "True"
    settle(shop)
    assert shop.contexts(other) == set()
    shop.owner.close_pull(shop.repository, pinned.number)
    follows_again(shop, shop.head())


# The way back.


def test_the_gate_holds_while_sluice_is_down(pinned: Pinned) -> None:
    """It is in the cluster: a push to main cannot reach the pin; a request that is closed meanwhile is made good."""
    shop, on_main = pinned.shop, news()
    settle(shop)
    with _down(shop.sluice):
        commit = shop.push(development(on_main))
        ask_flux(shop, "GitRepository", "branch-main")
        assert _artifact(shop.source()).endswith(commit)
        pinned.stays()
    looked_at(shop, commit, "is pinned to")
    pinned.stays()
    assert shop.contexts(commit) == set()
    with _down(shop.sluice):
        shop.owner.close_pull(shop.repository, pinned.number)
        pinned.stays()
    follows_again(shop, commit)
    assert value(shop) == on_main


@contextmanager
def _down(sluice: Sluice) -> Iterator[None]:
    """The Sluice that all tests share is not there inside."""
    sluice.stop()
    try:
        yield
    finally:
        sluice.start()
