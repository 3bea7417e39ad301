"""Sluice edits a branch while people push to it, between any two requests of Sluice's; and the count afterwards."""

import asyncio
import random
import shutil
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bot import editing
from bot.core.calls import Call
from bot.core.errors import UserError
from bot.editing import Wish
from bot.store.database import Database, migrate
from tests.scene import Scene

ROOT = "deploy/production"
FILE = f"{ROOT}/kustomization.yaml"
START = "# release: 0\nresources: [../base]\nimages:\n- name: web\n  newTag: v0  # ours\n"
REQUESTS = 14  # about as many as an edit takes
EXPECTED = frozenset({"branch_busy", "image_missing"})  # how an edit may end instead


class Races:
    """Edits of one value, each against people who push in an order that the seed decides."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)
        self.found = Counter[str]()
        self.theirs: list[str] = []
        self.said = 0  # the newest line of people in the file
        self.sandbox, self.name = scene.sandbox, scene.name
        self.push({FILE: START.encode()})

    def push(self, changes: dict[str, bytes | None]) -> str:
        """Somebody pushes to main."""
        made = self.sandbox.push(self.name, "main", changes, "alice")
        self.theirs.append(made)
        return made

    def text(self) -> str:
        """The file as it is now."""
        head = self.sandbox.head(self.name)
        assert head is not None
        return self.sandbox.store.read(self.name, head, FILE).decode()

    async def race(self, number: int) -> None:
        """One edit, with one to six pushes between its requests."""
        run = await self.scene.another_run()
        before, forced = len(self.sandbox.effects), len(self.theirs)
        pushes = self.random.choice((1, 1, 1, 2, 3, 6))
        moments = sorted(self.random.sample(range(REQUESTS), pushes))
        acts = (self.other_file, self.same_file, self.same_file, self.same_value, self.both)
        self.scene.meddling = {at: self.random.choice(acts) for at in moments}
        try:
            done = await editing.edit(context(self.scene, run), place(), tag(f"r{number}"))
            self.found["commits"] += 1
            self.check_commit(done.commit or "", run, number)
        except UserError as error:
            self.found["refused"] += 1
            self.found["strange_ends"] += error.code not in EXPECTED
        self.scene.meddling = {}
        self.found["pushes"] += len(self.theirs) - forced
        self.check_history(before)

    def other_file(self) -> None:
        self.push({f"docs/{len(self.theirs)}.md": b"x"})

    def same_file(self) -> None:
        """Another line of the file that is edited."""
        self.said += 1
        first, _, rest = self.text().partition("\n")
        assert first.startswith("# release: ")
        self.push({FILE: f"# release: {self.said}\n{rest}".encode()})

    def same_value(self) -> None:
        """The very value that is edited."""
        lines = self.text().splitlines(keepends=True)
        changed = [f"  newTag: h{len(self.theirs)}  # ours\n" if "newTag" in line else line for line in lines]
        self.push({FILE: "".join(changed).encode()})

    def both(self) -> None:
        self.same_file()
        self.other_file()

    def check_commit(self, commit: str, run: uuid.UUID, number: int) -> None:
        """It holds the value, changes nothing else, and is there once."""
        store = self.sandbox.store
        info = store.info(self.name, commit)
        made = store.read(self.name, commit, FILE).decode()
        was = store.read(self.name, info.parents[0], FILE).decode()
        lines = zip(was.splitlines(), made.splitlines(), strict=True)
        differing = [new for old, new in lines if old != new]
        self.found["wrong_edits"] += differing != [f"  newTag: r{number}  # ours"]
        line = f"Sluice-Run: {run}"
        history = store.history(self.name, str(self.sandbox.head(self.name)))
        times = sum(line in store.info(self.name, each).message for each in history)
        self.found["repeated_commits"] += times - 1

    def check_history(self, before: int) -> None:
        """Nobody's commit is gone, no push was forced, and what people wrote last in the file stands there."""
        store, head = self.sandbox.store, str(self.sandbox.head(self.name))
        reached = set(store.history(self.name, head))
        self.found["lost_commits"] += sum(each not in reached for each in self.theirs)
        for effect in self.sandbox.effects[before:]:
            if effect.kind == "branch.moved":
                kept = store.is_ancestor(self.name, effect.about["before"], effect.about["after"])
                self.found["forced_pushes"] += not kept
        self.found["lost_lines"] += not self.text().startswith(f"# release: {self.said}\n")


def tag(value: str) -> Wish:
    """The wish for another tag."""
    found = editing.wish((f"web={value}",), ())
    assert found is not None
    return found


def place() -> Any:
    """The environment, as far as edits look at it."""
    environment = SimpleNamespace(name="production", path=ROOT, branch="main", config={})
    project = SimpleNamespace(id=None, slug="web")
    return cast(Any, SimpleNamespace(environment=environment, project=project, title="production"))


def context(scene: Scene, run: uuid.UUID) -> Any:
    """The run of somebody's command, as far as edits look at it."""
    call = Call(kind="command", name="deploy", key=str(run), actor="alice", actor_id=scene.sandbox.account_id("alice"))
    row = SimpleNamespace(id=run, actor="alice")
    return cast(
        Any,
        SimpleNamespace(store=scene.store, forge=scene.forge, repository=scene.repository, run=row, call=call),
    )


async def play(scene: Scene, count: int, seed: int) -> Counter[str]:
    """So many races; what was counted. All but commits, pushes and refused must be 0."""
    races = Races(scene, seed)
    for number in range(1, count + 1):
        await races.race(number)
    return races.found


def bad(found: Counter[str]) -> dict[str, int]:
    """What must not be."""
    names = ("lost_commits", "forced_pushes", "lost_lines", "wrong_edits", "repeated_commits", "strange_ends")
    return {name: found[name] for name in names}


def played(count: int, seed: int) -> Counter[str]:
    """The same on a database of its own, for a program."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-races-"))
    try:
        return asyncio.run(_played(folder, count, seed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _played(folder: Path, count: int, seed: int) -> Counter[str]:
    url = f"sqlite+aiosqlite:///{folder / 'races.db'}"
    await asyncio.to_thread(migrate, url)
    database = Database(url)
    scene = Scene(folder, database)
    scene.sandbox.rate_limit = 1_000_000  # an hour's requests of GitHub's would end at about 350 races
    try:
        await scene.begin()
        return await play(scene, count, seed)
    finally:
        await scene.close()
        await database.close()
