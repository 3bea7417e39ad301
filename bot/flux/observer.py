"""Watches Sluice's objects in one cluster and tells of every change, whatever happens to the API server."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from bot.core.errors import BotError
from bot.core.manifests import SELECTOR
from bot.flux.connection import KINDS, Connection, Expired, NotFound

_log = structlog.get_logger(__name__)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it is now."""

    cluster: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    object: dict[str, Any]


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is no longer there. `uid` is None where it was known by its name only.

    `resource_version`: at that one nothing of its name was there; None where another one was.
    """

    cluster: str
    kind: str
    namespace: str
    name: str
    uid: str | None
    resource_version: str | None = None


class Known(msgspec.Struct, frozen=True):
    """An object that was there before the observer started, by the database."""

    namespace: str
    name: str
    uid: str | None = None


OnChange = Callable[[Seen], Awaitable[None]]
OnGone = Callable[[Gone], Awaitable[None]]
ToKnow = Callable[[str], Awaitable[Collection[Known]]]  # by kind

Named = tuple[str, str, str]  # kind, namespace, name

_Place = tuple[str, str]  # namespace, name
_Key = tuple[str, str, str | None]  # and uid


class Backoff:
    """Growing pauses with jitter, so that many observers do not come back at the same instant."""

    def __init__(self, longest: float, first: float = 0.1) -> None:
        self._longest, self._first, self._failures = longest, first, 0

    def reset(self) -> None:
        """It went well."""
        self._failures = 0

    def next(self) -> float:
        """The seconds to wait before the next try."""
        length: float = min(self._longest, self._first * 2 ** min(self._failures, 16))
        self._failures += 1
        return length * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it


class Observer:
    """One list-then-watch per kind. The callbacks get the newest state of each object, one call at a time per kind.

    A change that is overtaken before its call may be left out; a callback that fails is called again with what is
    newest then. `run` ends only by being cancelled. `others` are kinds with a selector of their own.
    """

    def __init__(
        self,
        name: str,
        connection: Connection,
        kinds: Sequence[str],
        *,
        on_change: OnChange,
        on_gone: OnGone,
        known: ToKnow,
        selector: str = SELECTOR,
        others: Mapping[str, str] = {},
        longest_pause: float = 5.0,
        watch_seconds: int = 60,
    ) -> None:
        unknown = [kind for kind in (*kinds, *others) if kind not in KINDS]
        if unknown:
            raise ValueError(f"kinds that are not known: {unknown}")
        self.ready = asyncio.Event()  # everything that is there was told once
        self._kinds = [
            _KindObserver(name, connection, kind, on_change, on_gone, known, chosen, longest_pause, watch_seconds)
            for kind, chosen in {**dict.fromkeys(kinds, selector), **others}.items()
        ]

    async def run(self) -> None:
        """Observe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._kinds:
                tasks.create_task(kind.watch())
                tasks.create_task(kind.tell())
            for kind in self._kinds:
                await kind.told.wait()
            self.ready.set()


class ByName:
    """Watches objects that are known by their name alone, each as long as it is wanted; they carry no label of ours."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        *,
        on_change: OnChange,
        on_gone: OnGone,
        known: ToKnow,
        wanted: Callable[[], Awaitable[Collection[Named]]],
        every: float = 2.0,
        longest_pause: float = 5.0,
        watch_seconds: int = 60,
    ) -> None:
        self._wanted, self._every = wanted, every

        def make(one: Named) -> _KindObserver:
            kind, *place = one
            only = place[0], place[1]
            return _KindObserver(
                name, connection, kind, on_change, on_gone, known, None, longest_pause, watch_seconds, only
            )

        self._make = make
        self._watching: dict[Named, list[asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Observe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    self._keep_to(await self._wanted(), tasks)
                except Exception:
                    _log.exception("observing.failed", kind="adopted")
                await asyncio.sleep(self._every)

    def _keep_to(self, wanted: Collection[Named], tasks: asyncio.TaskGroup) -> None:
        for one in set(self._watching) - set(wanted):
            for task in self._watching.pop(one):
                task.cancel()
        for one in set(wanted) - set(self._watching):
            observer = self._make(one)
            self._watching[one] = [tasks.create_task(observer.watch()), tasks.create_task(observer.tell())]


class _KindObserver:
    def __init__(
        self,
        cluster: str,
        connection: Connection,
        kind: str,
        on_change: OnChange,
        on_gone: OnGone,
        known: ToKnow,
        selector: str | None,
        longest_pause: float,
        watch_seconds: int,
        only: _Place | None = None,
    ) -> None:
        self._cluster, self._connection, self._kind, self._only = cluster, connection, kind, only
        self._on_change, self._on_gone, self._known = on_change, on_gone, known
        self._selector, self._longest_pause, self._watch_seconds = selector, longest_pause, watch_seconds
        self._version: str | None = None  # where to watch on from; None: list first
        self._have: dict[_Place, str | None] | None = None  # what is there, with its uid; None until asked for
        self._untold: dict[_Key, Seen | Gone | None] = {}  # None marks the end of the first list
        self._failed: dict[_Key, Seen | Gone] = {}
        self._again = 0.0  # when to try what failed
        self._work = asyncio.Event()
        self.told = asyncio.Event()
        self._absent = False  # the cluster does not have the kind

    # Seeing.

    async def watch(self) -> None:
        backoff = Backoff(self._longest_pause)
        while True:
            try:
                went_well = await (self._list() if self._version is None else self._follow())
            except Expired:
                self._version, went_well = None, False
            except NotFound as error:
                self._note_absent(error)
                went_well = False
            except BotError as error:
                went_well = False
                _log.warning("observing.interrupted", cluster=self._cluster, kind=self._kind, error=str(error))
            except Exception:
                self._version, went_well = None, False
                _log.exception("observing.failed", cluster=self._cluster, kind=self._kind)
            if went_well:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next())

    def _note_absent(self, error: NotFound) -> None:
        """The cluster has no such kind, yet: its definition may come later. It is said once."""
        self._version = None
        if not self._absent:
            self._absent = True
            _log.info("observing.kind_absent", cluster=self._cluster, kind=self._kind, why=str(error))

    async def _list(self) -> bool:
        if self._have is None:
            known = await self._known(self._kind)
            places = {(one.namespace, one.name): one.uid for one in known}
            self._have = {place: uid for place, uid in places.items() if self._only in (None, place)}
        version, items = await self._connection.list(self._kind, self._selector, self._only)
        there = {_place(item) for item in items}
        for place in [place for place in self._have if place not in there]:
            self._note_gone(place, version)
        for item in items:
            self._note(item)
        if not self.told.is_set():
            self._put(("", "", None), None)
        self._version, self._absent = version, False
        return True

    async def _follow(self) -> bool:
        """Watch until the server ends it; False if it did so at once and without a word."""
        began, heard = time.monotonic(), False
        assert self._version is not None
        events = self._connection.watch(self._kind, self._selector, self._version, self._watch_seconds, self._only)
        async with contextlib.aclosing(events):
            async for change, found in events:
                heard = True
                if change == "DELETED":
                    self._note_gone(_place(found), found["metadata"]["resourceVersion"])
                elif change != "BOOKMARK":
                    self._note(found)
                self._version = found["metadata"]["resourceVersion"]
        return heard or time.monotonic() - began > 1.0

    def _note(self, found: dict[str, Any]) -> None:
        metadata, place = found["metadata"], _place(found)
        have = self._have if self._have is not None else {}
        before = have.get(place)
        if before is not None and before != metadata["uid"]:
            self._note_gone(place)
        have[place] = metadata["uid"]
        seen = Seen(
            cluster=self._cluster,
            kind=self._kind,
            namespace=place[0],
            name=place[1],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            object=found,
        )
        self._put((*place, seen.uid), seen)

    def _note_gone(self, place: _Place, version: str | None = None) -> None:
        uid = (self._have or {}).pop(place, None)
        gone = Gone(
            cluster=self._cluster,
            kind=self._kind,
            namespace=place[0],
            name=place[1],
            uid=uid,
            resource_version=version,
        )
        self._put((*place, uid), gone)

    # Telling.

    def _put(self, key: _Key, item: Seen | Gone | None) -> None:
        self._failed.pop(key, None)
        self._untold[key] = item
        self._work.set()

    async def tell(self) -> None:
        backoff = Backoff(self._longest_pause)
        while True:
            await self._wait_for_work()
            while self._untold:
                key = next(iter(self._untold))
                item = self._untold.pop(key)
                if item is None:
                    self.told.set()
                elif not await self._tell(item) and key not in self._untold:  # what came in meanwhile is newer
                    self._failed[key] = item
            if not self._failed:
                backoff.reset()
            elif self._again <= time.monotonic():
                self._again = time.monotonic() + backoff.next()

    async def _wait_for_work(self) -> None:
        """Until something new came, or until it is time for what failed."""
        left = self._again - time.monotonic() if self._failed else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), left)
        self._work.clear()
        if self._failed and self._again <= time.monotonic():
            self._untold = {**self._failed, **self._untold}
            self._failed = {}

    async def _tell(self, item: Seen | Gone) -> bool:
        try:
            await (self._on_change(item) if isinstance(item, Seen) else self._on_gone(item))
        except Exception:
            name = f"{item.namespace}/{item.name}"
            _log.exception("observing.callback_failed", cluster=self._cluster, kind=self._kind, name=name)
            return False
        return True


def _place(found: dict[str, Any]) -> _Place:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]
