"""Edits on the environment's branch: compared and swapped, redone on a new head, proposed where that is protected."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot import editing
from bot.core.errors import UserError
from bot.store import git_sync
from bot.store.database import Database
from tests.edit_races import FILE, REQUESTS, ROOT, START, Races, bad, context, place, play, tag
from tests.scene import Scene


@pytest.fixture
async def scene(tmp_path: Path, migrated_url: str) -> AsyncIterator[Scene]:
    database = Database(migrated_url)
    made = Scene(tmp_path, database)
    await made.begin()
    yield made
    await made.close()
    await database.close()


@pytest.fixture
def races(scene: Scene) -> Races:
    return Races(scene, 1)


async def test_an_edit_is_one_commit_on_the_branch(scene: Scene, races: Races) -> None:
    base, run = scene.sandbox.head(scene.name), await scene.another_run()
    done = await editing.edit(context(scene, run), place(), tag("v1"))
    assert (done.made, done.pull_request) == (True, None)
    assert scene.sandbox.head(scene.name) == done.commit
    assert races.text() == START.replace("v0", "v1")
    info = scene.sandbox.store.info(scene.name, str(done.commit))
    assert (info.parents, info.author.name) == ((base,), "sluice-bot")
    alice = f"alice <{scene.sandbox.account_id('alice')}+alice@users.noreply.127.0.0.1>"
    assert info.message == (
        f"Set web v1 in production\n\n- {FILE}, line 5\n\nCo-authored-by: {alice}\nSluice-Run: {run}"
    )
    [row] = await scene.logs()
    assert (row.branch, row.status, row.files, row.commit_hash) == ("main", "committed", [FILE], done.commit)

    again = await editing.edit(context(scene, run), place(), tag("v1"))
    assert (again.made, again.commit) == (True, done.commit)
    other = await editing.edit(context(scene, await scene.another_run()), place(), tag("v1"))
    assert (other.made, other.commit) == (False, done.commit)


async def test_it_is_known_who_asked_for_a_commit(scene: Scene, races: Races) -> None:
    """They have a part in the change, whoever's account the commit is."""
    done = await editing.edit(context(scene, await scene.another_run()), place(), tag("v1"))
    async with scene.store.read() as session:
        commits = [str(done.commit), str(scene.sandbox.head(scene.name)), "a" * 40]
        assert await git_sync.askers(session, scene.repository.id, commits) == {"77"}
        assert await git_sync.askers(session, scene.repository.id, races.theirs) == set()


async def test_what_cannot_be_edited_leaves_nothing(scene: Scene, races: Races) -> None:
    base = scene.sandbox.head(scene.name)
    wish = editing.wish(("www=1",), ())
    assert wish is not None
    with pytest.raises(UserError) as caught:
        await editing.edit(context(scene, await scene.another_run()), place(), wish)
    assert caught.value.code == "image_missing"
    assert scene.sandbox.head(scene.name) == base
    assert await scene.logs() == []


async def test_no_link_is_followed(scene: Scene, races: Races) -> None:
    """A file that is a link may lead anywhere: it is neither read nor written."""
    modes = {FILE: 0o120000}
    scene.sandbox.push(scene.name, "main", {FILE: b"../../secret.yaml"}, "alice", modes=modes)
    for wish in (tag("v1"), editing.wish((), ("kustomization.yaml:a=1",))):
        assert wish is not None
        with pytest.raises(UserError) as caught:
            await editing.edit(context(scene, await scene.another_run()), place(), wish)
        assert caught.value.code in ("image_missing", "path_outside")


async def test_a_program_stays_one(scene: Scene, races: Races) -> None:
    scene.sandbox.push(scene.name, "main", {FILE: START.encode()}, "alice", modes={FILE: 0o100755})
    done = await editing.edit(context(scene, await scene.another_run()), place(), tag("v1"))
    entries = scene.sandbox.store.tree(scene.name, str(done.commit))
    assert {entry.path: entry.mode for entry in entries}[FILE] == "100755"


@pytest.mark.parametrize("moment", range(REQUESTS))
async def test_somebody_pushes_at_any_moment(scene: Scene, races: Races, moment: int) -> None:
    """To the same file, between any two requests: their line and our value are both there."""
    scene.meddling = {moment: races.same_file}
    await editing.edit(context(scene, await scene.another_run()), place(), tag("v1"))
    expected = START.replace("v0", "v1")
    assert races.text() == (expected.replace("release: 0", "release: 1") if races.said else expected)
    races.check_history(0)
    assert not any(bad(races.found).values())


async def test_races_with_people(scene: Scene) -> None:
    found = await play(scene, 40, seed=7)
    assert not any(bad(found).values()), found
    assert found["commits"] + found["refused"] == 40
    assert found["commits"] >= 30
    assert found["pushes"] >= 40
    assert len(await scene.logs()) == 40


async def test_a_branch_that_never_rests_is_given_up_on(scene: Scene, races: Races) -> None:
    scene.meddling = dict.fromkeys(range(200), races.other_file)
    with pytest.raises(UserError) as caught:
        await editing.edit(context(scene, await scene.another_run()), place(), tag("v1"))
    assert caught.value.code == "branch_busy"
    [row] = await scene.logs()
    assert (row.status, row.conflict, row.attempts) == ("failed", "gave_up", 5)
    scene.meddling = {}
    races.check_history(0)
    assert not any(bad(races.found).values())


async def test_a_protected_branch_gets_a_pull_request(scene: Scene, races: Races) -> None:
    scene.sandbox.protect_branch(scene.name, "main")
    base, run = scene.sandbox.head(scene.name), await scene.another_run()
    done = await editing.edit(context(scene, run), place(), tag("v1"))
    assert done.commit is None
    assert done.pull_request is not None
    assert scene.sandbox.head(scene.name) == base
    issue, pull = scene.sandbox.pull_request(scene.name, done.pull_request)
    assert (issue.title, pull.base_branch) == ("Set web v1 in production", "main")
    assert scene.sandbox.store.read(scene.name, pull.head_sha, FILE).decode() == START.replace("v0", "v1")
    assert [(row.branch, row.status) for row in await scene.logs()] == [
        ("main", "failed"),
        (pull.head_branch, "committed"),
    ]
    again = await editing.edit(context(scene, run), place(), tag("v1"))
    assert again.pull_request == done.pull_request


async def test_going_back_is_proposed(scene: Scene, races: Races) -> None:
    """What was added is gone again, what was removed is back, what is beside the environment stays."""
    old = scene.sandbox.push(scene.name, "main", {f"{ROOT}/gone.yaml": b"g: 1\n", "else": b"1"}, "alice")
    changes = {f"{ROOT}/gone.yaml": None, f"{ROOT}/new.yaml": b"n: 1\n", FILE: b"images: []\n", "else": b"2"}
    head = scene.sandbox.push(scene.name, "main", changes, "alice")
    number = await editing.revert(context(scene, await scene.another_run()), place(), old)
    assert number is not None
    issue, pull = scene.sandbox.pull_request(scene.name, number)
    assert issue.title == f"Have production as it was at {old[:7]}"
    made = scene.sandbox.store.files(scene.name, pull.head_sha)
    was = scene.sandbox.store.files(scene.name, old)
    assert made == {**was, "else": b"2"}
    assert scene.sandbox.head(scene.name) == head
    assert await editing.revert(context(scene, await scene.another_run()), place(), head) is None


async def test_a_charts_values(scene: Scene, races: Races) -> None:
    """They lie where the configuration says; no other file outside of the environment's path is touched."""
    values, beside = "charts/web/production.yaml", "charts/web/values.yaml"
    text = "# of production\nimage:\n  tag: '1'\n"
    scene.sandbox.push(scene.name, "main", {values: text.encode(), beside: text.encode()}, "alice")
    where = place()
    where.environment.config = {"helm": {"chart": "charts/web", "values": [values]}}
    wish = editing.wish((), ("image.tag=2",))
    assert wish is not None
    done = await editing.edit(context(scene, await scene.another_run()), where, wish)
    made = scene.sandbox.store.files(scene.name, str(done.commit))
    assert (made[values].decode(), made[beside].decode()) == (text.replace("'1'", "'2'"), text)
    outside = editing.wish((), (f"../../{beside}:image.tag=2",))
    assert outside is not None
    with pytest.raises(UserError) as caught:
        await editing.edit(context(scene, await scene.another_run()), where, outside)
    assert caught.value.code == "path_outside"
