"""The observer tells of every change, whatever happens to the API server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from typing import Any
from uuid import uuid4

import pytest

from bot.core import manifests
from bot.core.manifests import Git, Owner
from bot.flux.cluster import KubernetesCluster
from bot.flux.connection import Connection, from_dict
from bot.flux.observer import Backoff, Gone, Known, Observer, Seen
from tests.flux.planes import Plane, SandboxPlane, eventually, is_gone

GIT = Git(url="https://git.example/acme/web")
SOURCE, KUSTOMIZATION = "GitRepository", "Kustomization"
PATH = "GET /apis/source.toolkit.fluxcd.io/v1/gitrepositories"


class Told:
    """All that an observer told, by name; objects of other tests are left out."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.there: dict[str, Seen] = {}
        self.log: list[Seen | Gone] = []
        self.known: list[Known] = []
        self.failures = 0

    async def change(self, seen: Seen) -> None:
        if seen.namespace != self.namespace:
            return
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is locked")
        self.there[seen.name] = seen
        self.log.append(seen)

    async def gone(self, gone: Gone) -> None:
        if gone.namespace != self.namespace:
            return
        self.there.pop(gone.name, None)
        self.log.append(gone)

    async def known_before(self, kind: str) -> Collection[Known]:
        return self.known if kind == SOURCE else []

    def has(self, *names: str) -> bool:
        return set(self.there) == set(names)

    def lost(self) -> list[tuple[str, str | None]]:
        return [(one.name, one.uid) for one in self.log if isinstance(one, Gone)]

    def label(self, name: str) -> str | None:
        seen = self.there.get(name)
        found = None if seen is None else seen.object["metadata"]["labels"].get("step")
        return None if found is None else str(found)


@contextlib.asynccontextmanager
async def observing(connection: Connection, told: Told, **options: Any) -> AsyncIterator[Observer]:
    observer = Observer(
        "default",
        connection,
        [SOURCE, KUSTOMIZATION],
        on_change=told.change,
        on_gone=told.gone,
        known=told.known_before,
        **({"longest_pause": 0.3} | options),
    )
    task = asyncio.create_task(observer.run())
    try:
        yield observer
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def source(owner: Owner, branch: str, **labels: str) -> dict[str, Any]:
    manifest = manifests.branch_source(owner, GIT, branch)
    manifest["metadata"]["labels"] |= labels
    return manifest


def step(plane: Plane, owner: Owner, branch: str, value: str) -> None:
    plane.patch(SOURCE, owner.namespace, f"branch-{branch}", {"metadata": {"labels": {"step": value}}})


@pytest.fixture
def told(owner: Owner) -> Told:
    return Told(owner.namespace)


async def test_first_all_that_is_there_then_what_changes(
    plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told
) -> None:
    await cluster.apply(source(owner, "one"))
    async with observing(cluster.connection, told) as observer:
        assert not observer.ready.is_set()
        await asyncio.wait_for(observer.ready.wait(), 10)
        assert told.has("branch-one")
        seen = told.there["branch-one"]
        assert (seen.cluster, seen.kind, seen.namespace) == ("default", SOURCE, owner.namespace)
        assert seen.uid == seen.object["metadata"]["uid"]
        assert seen.object["kind"] == SOURCE
        assert seen.object["apiVersion"] == "source.toolkit.fluxcd.io/v1"

        await cluster.apply(source(owner, "two"))
        await eventually(lambda: told.has("branch-one", "branch-two"))
        step(plane, owner, "two", "next")
        await eventually(lambda: told.label("branch-two") == "next")
        assert told.there["branch-two"].object["kind"] == SOURCE


async def test_what_is_deleted_is_told_once(cluster: KubernetesCluster, owner: Owner, told: Told) -> None:
    written = await cluster.apply(source(owner, "one"))
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        await cluster.delete(SOURCE, owner.namespace, "branch-one")
        await eventually(lambda: told.has())
        assert told.lost() == [("branch-one", written.uid)]


async def test_made_anew_it_is_another(cluster: KubernetesCluster, owner: Owner, told: Told) -> None:
    first = await cluster.apply(source(owner, "one"))
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        await cluster.delete(SOURCE, owner.namespace, "branch-one")
        await is_gone(cluster, SOURCE, owner.namespace, "branch-one")
        second = await cluster.apply(source(owner, "one"))
        await eventually(lambda: told.has("branch-one") and told.there["branch-one"].uid == second.uid)
        assert told.lost() == [("branch-one", first.uid)]


async def test_what_is_gone_since_before_the_start_is_told(
    cluster: KubernetesCluster, owner: Owner, told: Told
) -> None:
    await cluster.apply(source(owner, "one"))
    await cluster.apply(source(owner, "two"))
    told.known = [
        Known(owner.namespace, "branch-one"),
        Known(owner.namespace, "branch-two", "another-uid"),
        Known(owner.namespace, "branch-three", "its-uid"),
        Known(owner.namespace, "branch-four"),
    ]
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        assert told.has("branch-one", "branch-two")
        assert set(told.lost()) == {("branch-two", "another-uid"), ("branch-three", "its-uid"), ("branch-four", None)}


async def test_only_what_is_labelled_as_sluices(
    plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told
) -> None:
    foreign = source(owner, "foreign")
    foreign["metadata"]["labels"] = {}
    plane.apply(foreign, "operator")
    await cluster.apply(source(owner, "one"))
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        assert told.has("branch-one")
        unlabelled = {"metadata": {"labels": {manifests.MANAGED_BY_LABEL: None}}}
        plane.patch(SOURCE, owner.namespace, "branch-one", unlabelled)
        await eventually(lambda: told.has())
        assert [name for name, _ in told.lost()] == ["branch-one"]


async def test_a_restarted_api_server(plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told) -> None:
    await cluster.apply(source(owner, "one"))
    await cluster.apply(source(owner, "two"))
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        await asyncio.to_thread(plane.stop)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(plane.start)
        await asyncio.to_thread(plane.delete, SOURCE, owner.namespace, "branch-one")
        await asyncio.to_thread(step, plane, owner, "two", "after")
        await eventually(lambda: told.has("branch-two") and told.label("branch-two") == "after", 30)
        assert [name for name, _ in told.lost()] == ["branch-one"]


async def test_an_end_of_the_watch_at_its_time(
    plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told
) -> None:
    await cluster.apply(source(owner, "one"))
    async with observing(cluster.connection, told, watch_seconds=1) as observer:
        await observer.ready.wait()
        for value in "abcde":
            await asyncio.sleep(0.5)
            await asyncio.to_thread(step, plane, owner, "one", value)
            await eventually(lambda value=value: told.label("branch-one") == value)
        assert not told.lost()


async def test_a_large_object(plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told) -> None:
    """One line of a watch may be longer than any reader's limit."""
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        large = source(owner, "large")
        large["metadata"]["annotations"] = {"note": "x" * 200_000}
        await cluster.apply(large)
        await eventually(lambda: told.has("branch-large"))


async def test_a_failing_callback_is_called_again_with_what_is_newest(
    plane: Plane, cluster: KubernetesCluster, owner: Owner, told: Told
) -> None:
    await cluster.apply(source(owner, "one"))
    await cluster.apply(source(owner, "two"))
    told.failures = 3
    async with observing(cluster.connection, told) as observer:
        await observer.ready.wait()
        await asyncio.to_thread(step, plane, owner, "one", "newest")
        await eventually(lambda: told.has("branch-one", "branch-two") and told.label("branch-one") == "newest")


# What only the sandbox can be made to do.


@pytest.fixture
def plain(sandbox: SandboxPlane) -> Owner:
    namespace = f"project-{uuid4().hex[:8]}"
    owner = Owner(project=uuid4(), namespace=namespace)
    sandbox.apply(manifests.namespace(owner, namespace), "sluice")
    sandbox.apply(source(owner, "one"), "sluice")
    return owner


@pytest.mark.parametrize("abrupt", [False, True])
async def test_dropped_watches_go_on_where_they_were(sandbox: SandboxPlane, plain: Owner, abrupt: bool) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    async with observing(connection, told) as observer:
        await observer.ready.wait()
        for number in range(5):
            await eventually(lambda: sandbox.cluster.watching == 2)
            sandbox.cluster.drop_watches(abrupt=abrupt)
            step(sandbox, plain, "one", str(number))
            await eventually(lambda number=number: told.label("branch-one") == str(number))
        assert sandbox.cluster.requests < 40
    await connection.close()


@pytest.mark.parametrize("how", ["event", "status"])
async def test_410_lists_again(sandbox: SandboxPlane, plain: Owner, how: str) -> None:
    """As an ERROR event in a watch, and as the answer's status."""
    told, connection = Told(plain.namespace), sandbox.connection()
    sandbox.apply(source(plain, "two"), "sluice")
    async with observing(connection, told) as observer:
        await observer.ready.wait()
        await eventually(lambda: sandbox.cluster.watching == 2)
        sandbox.stop()
        sandbox.delete(SOURCE, plain.namespace, "branch-one")
        step(sandbox, plain, "two", "after")
        sandbox.cluster.compact()
        if how == "status":
            sandbox.cluster.fail_next(1, 410, match=PATH)
        sandbox.start()
        await eventually(lambda: told.label("branch-two") == "after" and told.has("branch-two"))
        assert [name for name, _ in told.lost()] == ["branch-one"]
    await connection.close()


@pytest.mark.parametrize("code", [0, 401, 403, 404, 410, 429, 500, 503])
async def test_lists_that_fail_are_tried_again(sandbox: SandboxPlane, plain: Owner, code: int) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    sandbox.cluster.fail_next(3, code, match=PATH)
    async with observing(connection, told) as observer:
        await asyncio.wait_for(observer.ready.wait(), 10)
        assert told.has("branch-one")
    await connection.close()


async def test_changes_while_the_server_is_away(sandbox: SandboxPlane, plain: Owner) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    async with observing(connection, told) as observer:
        await observer.ready.wait()
        sandbox.stop()
        sandbox.apply(source(plain, "two"), "sluice")
        sandbox.delete(SOURCE, plain.namespace, "branch-one")
        await asyncio.sleep(0.5)
        sandbox.start()
        await eventually(lambda: told.has("branch-two"))
        assert [name for name, _ in told.lost()] == ["branch-one"]
    await connection.close()


async def test_a_server_that_is_away_at_the_start(sandbox: SandboxPlane, plain: Owner) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    sandbox.stop()
    async with observing(connection, told) as observer:
        await asyncio.sleep(0.5)
        assert not observer.ready.is_set()
        sandbox.start()
        await asyncio.wait_for(observer.ready.wait(), 10)
        assert told.has("branch-one")
    await connection.close()


async def test_a_database_that_is_away_at_the_start(sandbox: SandboxPlane, plain: Owner) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    calls: list[str] = []

    async def known(kind: str) -> list[Known]:
        calls.append(kind)
        if len(calls) < 4:
            raise RuntimeError("no connection")
        return []

    told.known_before = known  # type: ignore[method-assign]
    async with observing(connection, told) as observer:
        await asyncio.wait_for(observer.ready.wait(), 10)
        assert told.has("branch-one")
    await connection.close()


async def test_many_objects_come_in_pages_and_all_are_told(sandbox: SandboxPlane, plain: Owner) -> None:
    for number in range(1200):
        sandbox.apply(source(plain, f"b{number}"), "sluice")
    told, connection = Told(plain.namespace), sandbox.connection()
    async with observing(connection, told) as observer:
        await asyncio.wait_for(observer.ready.wait(), 30)
        assert len(told.there) == 1201
    await connection.close()


async def test_an_object_that_always_fails_holds_up_no_other(sandbox: SandboxPlane, plain: Owner) -> None:
    told, connection = Told(plain.namespace), sandbox.connection()
    good, calls = told.change, 0

    async def change(seen: Seen) -> None:
        nonlocal calls
        if seen.name == "branch-one":
            calls += 1
            raise RuntimeError("never")
        await good(seen)

    told.change = change  # type: ignore[method-assign]
    async with observing(connection, told) as observer:
        await observer.ready.wait()
        for number in range(20):
            sandbox.apply(source(plain, f"b{number}"), "sluice")
            await asyncio.sleep(0.03)
        await eventually(lambda: len(told.there) == 20)
        assert 2 <= calls <= 20
    await connection.close()


async def test_cancelled_nothing_is_left_open(sandbox: SandboxPlane, plain: Owner) -> None:
    before = asyncio.all_tasks()
    for _ in range(5):
        told, connection = Told(plain.namespace), sandbox.connection()
        async with observing(connection, told) as observer:
            await observer.ready.wait()
            await eventually(lambda: sandbox.cluster.watching == 2)
        await connection.close()
        await eventually(lambda: sandbox.cluster.watching == 0)
        assert asyncio.all_tasks() == before


async def test_cancelled_while_a_callback_runs(sandbox: SandboxPlane, plain: Owner) -> None:
    told, connection, entered = Told(plain.namespace), sandbox.connection(), asyncio.Event()

    async def change(seen: Seen) -> None:
        entered.set()
        await asyncio.Event().wait()

    told.change = change  # type: ignore[method-assign]
    async with observing(connection, told):
        await entered.wait()
    await connection.close()


class Nonsense:
    """Serves an empty list; the first watch gets a line of nonsense, the later ones an object."""

    def __init__(self, line: bytes, found: dict[str, Any]) -> None:
        self.first, self.later = line, json.dumps({"type": "ADDED", "object": found}).encode() + b"\n"
        self.watches = 0
        self.answers: set[asyncio.Task[None] | None] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answers.add(asyncio.current_task())
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        except asyncio.IncompleteReadError:  # the observer was cancelled
            request = b""
        body = json.dumps({"metadata": {"resourceVersion": "5"}, "items": []}).encode()
        if b"watch=true" in request:
            body = b""
            if b"gitrepositories" in request:
                self.watches += 1
                body = self.first if self.watches == 1 else self.later
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b'{"type":"MODIFIED"}\n',
        b'{"type":"MODIFIED","object":{}}\n',
        b'{"type":"ERROR","object":{"code":500,"message":"etcd is away"}}\n',
        b'{"type":"ERROR","object":{"code":410,"message":"too old"}}\n',
        b'{"type":"MODIFIED","obj',
        b"\xff\xfe\n",
        b"\n\n",
    ],
)
async def test_a_watch_that_says_nonsense(line: bytes) -> None:
    """It is interrupted, and the next one is listened to."""
    owner = Owner(project=uuid4(), namespace="project-x")
    thing = source(owner, "one", step="live") | {"status": {}}
    thing["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    nonsense = Nonsense(line, thing)
    server = await asyncio.start_server(nonsense.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connection, told = from_dict(SandboxPlane().cluster.kubeconfig(url)), Told("project-x")
    async with server, observing(connection, told):
        await eventually(lambda: told.label("branch-one") == "live")
    await connection.close()
    await asyncio.gather(*(answer for answer in nonsense.answers if answer is not None))


def test_pauses_grow_to_their_limit_and_differ() -> None:
    backoff = Backoff(5.0)
    pauses = [backoff.next() for _ in range(30)]
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(pauses[:5]))
    assert all(2.5 <= pause <= 5.0 for pause in pauses[10:])
    assert len(set(pauses)) == 30
    backoff.reset()
    assert backoff.next() <= 0.1


def test_a_kind_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="Gadget"):
        Observer("c", None, ["Gadget"], on_change=None, on_gone=None, known=None)  # type: ignore[arg-type]


async def test_a_kind_that_comes_later(sandbox: SandboxPlane) -> None:
    """A kind that the cluster lacks holds nobody up, and is observed as soon as it is there."""
    cluster = sandbox.open()
    project = uuid4()
    owner = Owner(project=project, namespace=manifests.project_namespace(project))
    await cluster.apply(manifests.namespace(owner, owner.namespace))
    sandbox.cluster.delete("CustomResourceDefinition", "", "kustomizations.kustomize.toolkit.fluxcd.io")
    told = Told(owner.namespace)
    connection = sandbox.connection()
    async with observing(connection, told):
        await cluster.apply(manifests.branch_source(owner, GIT, "main"))
        await eventually(lambda: told.has("branch-main"))
        sandbox.cluster.restore_fields("Kustomization")
        rollout = manifests.Rollout(environment="web", path="web", source="branch-main", target="web")
        await cluster.apply(manifests.kustomization(owner, rollout))
        await eventually(lambda: told.has("branch-main", "web"))
    await connection.close()
    await cluster.close()
