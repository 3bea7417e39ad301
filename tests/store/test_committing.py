"""Commits of the bot's own: once for a run, over nobody's work, and always in `git_sync_logs`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from bot.committing import MOST_TRIES, Change, Committer
from bot.core.errors import TemporaryError, UserError
from bot.store import git_sync
from bot.store.database import Database
from tests.scene import BRANCH, Scene
from tests.world import Killed, Life, MortalPort

FILES = {"deploy/dev/kustomization.yaml": b"resources: []\n", ".sluice.yaml": b"version: 1\n"}


@pytest.fixture
async def scene(tmp_path: Path, migrated_url: str) -> AsyncIterator[Scene]:
    database = Database(migrated_url)
    made = Scene(tmp_path, database)
    await made.begin()
    yield made
    await made.close()
    await database.close()


def change(files: dict[str, bytes] | None = None, **more: Any) -> Change:
    return Change(branch=BRANCH, start="main", files=files or FILES, message="Add the folders", **more)


async def test_a_commit_and_its_row(scene: Scene) -> None:
    base = scene.sandbox.head(scene.name)
    done = await scene.committer().commit(change())
    assert done.made
    assert scene.commits() == [done.commit]
    assert scene.files() == {"README.md": b"# web\n", **FILES}
    assert scene.sandbox.store.info(scene.name, done.commit).message == f"Add the folders\n\nSluice-Run: {scene.run_id}"
    [row] = await scene.logs()
    assert (row.status, row.conflict, row.commit_hash, row.base_commit) == ("committed", "none", done.commit, base)
    assert (row.branch, row.author, row.attempts, row.error) == (BRANCH, "sluice-bot", 1, None)
    assert row.files == sorted(FILES)
    assert await scene.told() == ["git.commit.committed"]


async def test_the_same_run_again_commits_nothing_more(scene: Scene) -> None:
    one = await scene.committer().commit(change())
    calls = len(scene.sandbox.requests)
    assert (await scene.committer().commit(change())).commit == one.commit
    assert len(scene.sandbox.requests) == calls
    assert len(await scene.logs()) == 1


async def test_another_run_finds_everything_there(scene: Scene) -> None:
    one = await scene.committer().commit(change())
    await scene.another_run()
    again = await scene.committer().commit(change())
    assert (again.made, again.commit) == (False, one.commit)
    assert [(row.status, row.files) for row in await scene.logs()] == [("committed", sorted(FILES)), ("skipped", [])]


async def test_killed_at_every_step(scene: Scene) -> None:
    """Whatever instruction it dies at: one commit, one pull request, one row that says so, one event."""
    for step in range(100):
        await scene.another_run()
        life = Life()
        life.dies_at(step)
        wish = change({f"deploy/{step}/a.yaml": b"a: 1\n"})
        before = len(scene.commits()), len(await scene.logs()), len(await scene.told())
        try:
            await scene.committer(life).propose(wish, "Set it up", "With folders.")
        except Killed:
            await scene.committer().propose(wish, "Set it up", "With folders.")
        after = len(scene.commits()), len(await scene.logs()), len(await scene.told())
        assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1], life.steps
        row = (await scene.logs())[-1]
        assert (row.status, row.commit_hash, row.pull_request) == ("committed", scene.commits()[-1], 1), life.steps
        if not life.dead:
            break
    assert step > 15
    assert scene.pulls() == [1]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_an_answer_that_was_lost_is_looked_for(scene: Scene, method: str) -> None:
    if method == "PATCH":
        scene.sandbox.create_branch(scene.name, BRANCH, str(scene.sandbox.head(scene.name)), "alice")
    scene.sandbox.drop_next(method, "*/git/refs*")
    with pytest.raises(TemporaryError):
        await scene.committer().commit(change())
    [row] = await scene.logs()
    assert row.status == "pending"
    done = await scene.committer().commit(change())
    assert scene.commits() == [done.commit]
    [row] = await scene.logs()
    assert (row.status, row.commit_hash) == ("committed", done.commit)


class Busy(MortalPort):
    """A forge where somebody pushes just before each of our commits."""

    def __init__(self, scene: Scene, times: int) -> None:
        super().__init__(scene.forge, Life(), "forge")
        self.scene, self.times = scene, times

    async def commit_files(self, *args: Any) -> str:
        """Only after alice."""
        if self.times > 0:
            self.times -= 1
            self.scene.sandbox.push(self.scene.name, BRANCH, {f"theirs/{self.times}": b"x"}, "alice")
        return str(await self._inner.commit_files(*args))


async def test_who_pushes_meanwhile_keeps_it_and_we_come_after(scene: Scene) -> None:
    committer = Committer(scene.store, cast(Any, Busy(scene, 2)), scene.repository, scene.run_id)
    done = await committer.commit(change())
    assert scene.commits()[-1] == done.commit
    assert scene.files() == {"README.md": b"# web\n", "theirs/0": b"x", "theirs/1": b"x", **FILES}
    [row] = await scene.logs()
    assert (row.status, row.conflict, row.attempts) == ("committed", "rebased", 3)


async def test_it_gives_up_after_five_tries(scene: Scene) -> None:
    committer = Committer(scene.store, cast(Any, Busy(scene, 50)), scene.repository, scene.run_id)
    with pytest.raises(UserError) as caught:
        await committer.commit(change())
    assert caught.value.code == "branch_busy"
    [row] = await scene.logs()
    assert (row.status, row.conflict, row.attempts) == ("failed", "gave_up", MOST_TRIES)
    assert all(path.startswith(("theirs/", "README")) for path in scene.files())


async def test_what_somebody_wrote_is_left_alone(scene: Scene) -> None:
    scene.sandbox.push(scene.name, BRANCH, {".sluice.yaml": b"version: 1 # mine\n"}, "alice")
    with pytest.raises(UserError, match=r"changed `\.sluice\.yaml` on") as caught:
        await scene.committer().commit(change())
    assert caught.value.code == "edited_by_hand"
    [row] = await scene.logs()
    assert (row.status, row.conflict, row.commit_hash) == ("failed", "by_hand", None)
    assert await scene.told() == ["git.commit.failed"]

    await scene.another_run()
    done = await scene.committer().commit(change(without_theirs=True))
    assert done.theirs == (".sluice.yaml",)
    assert scene.files()[".sluice.yaml"] == b"version: 1 # mine\n"
    row = (await scene.logs())[-1]
    assert (row.status, row.conflict, row.files) == ("committed", "by_hand", ["deploy/dev/kustomization.yaml"])


async def test_a_file_is_changed_from_the_version_that_was_read(scene: Scene) -> None:
    entries = {
        entry.path: entry.oid for entry in scene.sandbox.store.tree(scene.name, str(scene.sandbox.head(scene.name)))
    }
    wish = change({"README.md": b"# ours\n"}, was={"README.md": entries["README.md"]})
    assert (await scene.committer().commit(wish)).made
    scene.sandbox.push(scene.name, BRANCH, {"README.md": b"# theirs\n"}, "alice")
    await scene.another_run()
    with pytest.raises(UserError, match=r"README\.md"):
        await scene.committer().commit(wish)
    assert scene.files()["README.md"] == b"# theirs\n"


async def test_a_file_where_a_folder_must_be_is_no_folder(scene: Scene) -> None:
    scene.sandbox.push(scene.name, BRANCH, {"deploy": b"a file\n"}, "alice")
    with pytest.raises(UserError) as caught:
        await scene.committer().commit(change())
    assert caught.value.code == "edited_by_hand"
    assert scene.files()["deploy"] == b"a file\n"


async def test_nothing_to_begin_at(scene: Scene) -> None:
    with pytest.raises(UserError) as caught:
        await scene.committer().commit(Change(branch=BRANCH, start="nothing", files=FILES, message="m"))
    assert caught.value.code == "branch_missing"
    assert await scene.logs() == []


async def test_a_refusal_of_the_forge_ends_the_row(scene: Scene) -> None:
    scene.sandbox.set_permission(scene.name, "sluice-bot", "read")
    with pytest.raises(UserError) as caught:
        await scene.committer().commit(change())
    assert caught.value.code == "forge_refused"
    [row] = await scene.logs()
    assert (row.status, row.conflict) == ("failed", "none")
    assert row.error is not None
    assert "Resource not accessible" in row.error


async def test_a_run_that_was_given_up_leaves_nothing_pending(scene: Scene) -> None:
    scene.sandbox.fail_next("POST", "*/git/blobs", 502, times=None)
    with pytest.raises(TemporaryError):
        await scene.committer().commit(change())
    async with scene.store.write() as tx:
        await git_sync.given_up(tx, scene.repository, scene.run_id, "the run gave up after 60 minutes")
    [row] = await scene.logs()
    assert (row.status, row.error) == ("failed", "the run gave up after 60 minutes")
    assert await scene.told() == ["git.commit.failed"]


async def test_a_proposal_that_is_merged_already_is_none(scene: Scene) -> None:
    assert await scene.committer().propose(change(), "Set it up", "") == 1
    scene.sandbox.merge_pull_request(scene.name, 1, "alice")
    await scene.another_run()
    assert await scene.committer().propose(change(), "Set it up", "") is None
    assert scene.pulls() == [1]
