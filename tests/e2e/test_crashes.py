"""SIGKILL at chosen requests: one end, one comment, and an event log without gaps."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import pytest

from tests.e2e.harness import Shop, Sluice
from tests.e2e.proxy import Proxy, Request, Trap
from tests.e2e.test_pushes import LITTLE, development, one_end, settle, value
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea
from tests.servers.gitea_account import Files

pytestmark = pytest.mark.e2e

LANES = 2
"""So many crashes at a time: each waits for new starts, and each lane is work by itself."""
DEADLINE = 60.0
"""Seconds from a new start to the end, on a busy machine."""
OWN = "pin-development"
ENDS = frozenset(f"deployment.{each}" for each in ("succeeded", "failed", "timed_out", "superseded", "cancelled"))
RUN_ENDS = frozenset(f"run.{each}" for each in ("done", "refused", "ignored", "failed"))


class Lane:
    """A Sluice whose ways to Gitea, to the cluster and from Gitea all lead through proxies."""

    def __init__(self, plane: ControlPlane, gitea: Gitea) -> None:
        self._open = contextlib.ExitStack()
        enter = self._open.enter_context
        self.forge = enter(Proxy.to_url(gitea.url, gitea.host))
        self.cluster = enter(Proxy.to_cluster(plane.sluice_kubeconfig))
        config = plane.folder / f"proxy-{self.cluster.port}.kubeconfig"
        settings = {
            "SLUICE_GITEA_URL": self.forge.url,
            "SLUICE_KUBECONFIG": str(self.cluster.kubeconfig(config)),
        }
        self.sluice = enter(Sluice(plane, gitea, settings))
        self.web = enter(Proxy.to_url(self.sluice.url, gitea.host))
        self._free: Behind | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def arm(self, point: Point, repository: str) -> Trap:
        """Kill Sluice at this point."""
        trap = Trap(lambda request: point.fits(request, repository), self.sluice.kill, answered=point.answered)
        for name in ("forge", "cluster", "web"):
            getattr(self, name).trap = trap if name == point.way else None
        return trap

    def take(self) -> Behind:
        """A shop with development; the one in which the last point went well, if there is one."""
        found, self._free = self._free, None
        if found is None:
            found = Behind(self)
            found.enable(["development"])
        return found

    def give_back(self, shop: Behind) -> None:
        """All went well in it."""
        self._free = shop

    def disarm(self) -> None:
        """Nothing is killed any more."""
        self.forge.trap = self.cluster.trap = self.web.trap = None


@dataclass(frozen=True)
class Point:
    """A request at which Sluice is killed, and the act of a person that leads there."""

    act: str
    way: str
    method: str
    path: str
    body: str = ""
    answered: bool = False

    def __str__(self) -> str:
        what = f"{self.method} {self.path.strip('/').replace('/', '-')} {self.body}".strip().replace(" ", "-")
        return f"{self.act}-{'after' if self.answered else 'before'}-{what}"

    def fits(self, request: Request, repository: str) -> bool:
        """Whether this is the request; on the forge, only one about the repository."""
        if request.method != self.method or self.body.encode() not in request.body:
            return False
        if self.way == "web":
            return request.headers.get("x-gitea-event") == self.path
        path = request.path
        return self.path in path and (self.way != "forge" or f"/repos/{repository}/" in path)


def _both(act: str, way: str, method: str, path: str, body: str = "") -> list[Point]:
    """Before the request is passed on, and after it was carried out."""
    return [Point(act, way, method, path, body, answered) for answered in (False, True)]


POINTS = [
    Point("deploy", "cluster", "PATCH", "/gitrepositories/pin-development", answered=True),  # takes longest: the first
    *_both("push", "web", "POST", "push"),
    Point("push", "forge", "GET", "/branches/main"),  # whether what only reads was answered makes no difference
    Point("push", "forge", "GET", "/git/trees/"),
    *_both("push", "cluster", "PATCH", "/gitrepositories/branch-main", "requestedAt"),
    *_both("push", "forge", "POST", "/statuses/", "pending"),
    *_both("push", "forge", "POST", "/statuses/", "success"),
]
"""Ten between a push and its status, and one with a second; the sandbox's tests visit all others."""
CLOSING = Point("close", "cluster", "DELETE", "/gitrepositories/pin-development", answered=True)


class Behind(Shop):
    """A shop that Sluice and Flux see through the proxies of a lane."""

    def __init__(self, lane: Lane, start: Files = LITTLE) -> None:
        super().__init__(lane.sluice, start, hook=False)
        self.lane = lane
        self.owner.create_hook(self.repository, f"{lane.web.url}/webhooks/gitea", lane.sluice.webhook_secret)

    @functools.cached_property
    def namespace(self) -> str:
        """Known by the address at which Flux fetches."""
        url = f"{self.lane.forge.url}/{self.repository}.git"
        sources = self.plane.admin.list("GitRepository", selector="app.kubernetes.io/managed-by=sluice")
        return str(next(each["metadata"]["namespace"] for each in sources if each["spec"]["url"] == url))

    @contextlib.contextmanager
    def killed(self, point: Point) -> Iterator[None]:
        """What is done inside leads to the point; when that was reached, Sluice is started again."""
        trap = self.lane.arm(point, self.repository)
        yield
        try:
            trap.wait(60)
        finally:
            self.lane.disarm()
        self.sluice.start(90)

    def ends_well(self, commit: str) -> None:
        """The commit is live, and everything about it was said once."""
        state, text = self.ended(commit, "development", DEADLINE)
        assert state == "success", text
        settle(self, DEADLINE)
        assert one_end(self, commit, "development") == (state, text)
        said = self.statuses(commit, "development")
        assert len(set(said)) == len(said), f"something was said twice: {said}"
        assert self.live("development") == commit


# What people do, and what has to come of it.


def _push(shop: Behind, point: Point) -> None:
    settle(shop)
    with shop.killed(point):
        commit = shop.push(development(str(point)))
    shop.ends_well(commit)
    assert value(shop) == str(point)


def _deploy(shop: Behind, point: Point) -> None:
    number = shop.pull(development("request"), branch="topic")
    settle(shop)
    with shop.killed(point):
        shop.say(number, "/deploy development")
    commit = shop.head("topic")
    shop.ends_well(commit)
    assert value(shop) == "request"
    statement = "SELECT number FROM deployments WHERE commit_hash = ?"
    ((deployment,),) = shop.sluice.query(statement, commit)
    assert shop.source(OWN)["metadata"]["annotations"]["sluice/deployment"] == str(deployment)
    (comment,) = shop.answers(number)
    assert f"pinned to #{number}" in comment
    _close(shop, number)


def _close(shop: Behind, number: int) -> None:
    commit = shop.push(development("main"))
    settle(shop)
    with shop.killed(CLOSING):
        shop.owner.close_pull(shop.repository, number)
    shop.ends_well(commit)
    assert value(shop) == "main"
    shop.until(lambda: shop.plane.get("GitRepository", OWN, shop.namespace) is None, "the own source is gone")


ACTS = {"push": _push, "deploy": _deploy}


# The event log.


def log_is_whole(shop: Shop) -> None:
    """Each run and each deployment was queued first and has ended once, and the log says what the rows say."""
    mine = "IN (SELECT id FROM repositories WHERE full_name = ?)"
    runs = shop.sluice.query(f"SELECT id, name, status FROM runs WHERE repository_id {mine}", shop.repository)
    found = shop.sluice.query(
        f"""SELECT deployments.id, commit_hash, deployments.status FROM deployments
        JOIN environments ON environments.id = deployments.environment_id
        JOIN projects ON projects.id = environments.project_id WHERE projects.repository_id {mine}""",
        shop.repository,
    )
    assert runs
    assert found
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, id, action in shop.sluice.query(
        "SELECT resource_type, resource_id, action FROM unified_events ORDER BY created_at, rowid"
    ):
        told[kind, id].append(action)
    for kind, rows, ends in (("run", runs, RUN_ENDS), ("deployment", found, ENDS)):
        for id, name, status in rows:
            actions = told[kind, id]
            what = f"{kind} {name} ({status}): {actions}"
            assert actions[:1] == [f"{kind}.queued"], what
            assert actions[-1:] == [f"{kind}.{status}"], what
            assert [each for each in actions if each in ends] == [f"{kind}.{status}"], what


# All crashes, several at a time.


class Crashes:
    """Starts what was asked for, and knows what came of each."""

    def __init__(self, plane: ControlPlane, gitea: Gitea, points: list[Point]) -> None:
        self._plane, self._gitea = plane, gitea
        self._lanes: list[Lane] = []
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(LANES, "crash")
        self._done: dict[Point, Future[None]] = {point: self._pool.submit(self._crash, point) for point in points}

    def result(self, point: Point) -> None:
        """Return when the point was tried, or raise what went wrong there."""
        self._done[point].result()

    def close(self) -> None:
        """Wait for what runs, and end every Sluice."""
        self._pool.shutdown(cancel_futures=True)
        for lane in self._lanes:
            lane.__exit__()

    def _crash(self, point: Point) -> None:
        lane: Lane | None = getattr(self._mine, "lane", None)
        if lane is None:
            lane = self._mine.lane = Lane(self._plane, self._gitea)
            self._lanes.append(lane)
        try:
            shop = lane.take()
            ACTS[point.act](shop, point)
            log_is_whole(shop)
            lane.give_back(shop)
        except Exception as error:
            error.add_note(lane.sluice.tail(40))
            raise
        finally:
            if not lane.sluice.running:
                lane.sluice.start(90)


@pytest.fixture(scope="module")
def crashes(control_plane: ControlPlane, gitea: Gitea, request: pytest.FixtureRequest) -> Iterator[Crashes]:
    """All points that this run of pytest asks for, the one that takes longest first."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    points = [each.params["point"] for each in asked if each is not None and "point" in each.params]
    started = Crashes(control_plane, gitea, [point for point in POINTS if point in points])
    yield started
    started.close()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_crash(crashes: Crashes, point: Point) -> None:
    """SIGKILL at this point, and a new start: it ends as if nothing had happened."""
    crashes.result(point)
