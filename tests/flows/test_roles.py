"""Who may say what: roles come from the forge, at the moment the command runs."""

import pytest

from models import UnifiedEvent, User
from tests.world import World, says

COMMANDS = {
    "/help": ("help", "none"),
    "/status": ("status", "viewer"),
    "/sync": ("sync", "deployer"),
    "/deploy development": ("deploy", "deployer"),
    "/enable development": ("enable", "admin"),
}
RANKS = ("none", "viewer", "deployer", "approver", "admin")
PEOPLE = {"eve": "viewer", "vera": "viewer", "dave": "deployer", "maia": "approver", "alice": "admin"}


@pytest.mark.parametrize("login", PEOPLE)
async def test_the_matrix(world: World, login: str) -> None:
    """Everybody may do what their role allows, and is told what they lack otherwise."""
    await world.enabled("development")
    world.open_pull_request(says("topic"))
    before = len(await world.runs())

    await world.comment("\n".join(COMMANDS), by=login)

    results = {run.name: (run.status, run.code) for run in await world.runs() if run.actor == login}
    has = RANKS.index(PEOPLE[login])
    for name, needs in COMMANDS.values():
        allowed = has >= RANKS.index(needs)
        assert results[name] == (("done", None) if allowed else ("refused", "not_permitted")), name
    assert len(await world.runs()) >= before + len(COMMANDS)
    assert world.live() == ("topic" if has >= RANKS.index("deployer") else "development")
    if login == "eve":
        assert "this needs the role deployer; you have viewer" in world.comment_text()


async def test_nobody_at_all(world: World) -> None:
    """In a private repository somebody whose access was taken away has no role, and may read the help only."""
    private = World(world.place, private=True)
    private.forge.set_permission(private.repository, "eve", "read")
    private.open_pull_request(says("topic"))
    await private.settled()
    private.forge.hold_deliveries()
    private.write("/help\n/status\n/deploy development", by="eve")
    private.forge.set_permission(private.repository, "eve", "none")

    private.forge.release()
    await private.settled()

    results = {run.name: run.code for run in await private.asked()}
    assert results == {"help": None, "status": "not_permitted", "deploy": "not_permitted"}
    assert "you have none" in private.comment_text()
    await private.end()


async def test_permission_is_asked_when_the_command_runs(world: World) -> None:
    """Dave might deploy when he wrote it, but not any more when it is read."""
    await world.enabled("development")
    world.open_pull_request(says("topic"))
    await world.settled()
    world.forge.hold_deliveries()
    world.write("/deploy development", by="dave")
    world.forge.set_permission(world.repository, "dave", "read")

    world.forge.release()
    await world.settled()

    assert await world.results("deploy") == [("refused", "not_permitted")]
    assert world.live() == "development"


async def test_a_forge_that_cannot_say_is_asked_again(world: World) -> None:
    """The forge fails to tell the role for a while: nothing happens until it can."""
    await world.enabled("development")
    world.open_pull_request(says("topic"))
    world.forge.fail_next("GET", "*/collaborators/dave/permission", 500, times=2)

    await world.comment("/deploy development", by="dave")

    assert await world.results("deploy") == [("done", None)]
    assert world.live() == "topic"


async def test_a_forge_that_forbids_the_question(world: World) -> None:
    """A forge that will not tell the role gets no command carried out."""
    await world.enabled("development")
    world.open_pull_request(says("topic"))
    world.forge.fail_next("GET", "*/collaborators/dave/permission", 422, times=None)

    await world.comment("/deploy development", by="dave")

    assert await world.results("deploy") == [("refused", "forge_refused")]
    assert world.live() == "development"


async def test_pull_requests_from_forks(world: World) -> None:
    """A fork's request, also a private one's, runs no command that changes anything, whoever asks; looking is fine.

    Of a private fork nothing is told that the request itself does not tell.
    """
    await world.enabled("development")
    refused = dict.fromkeys(("deploy", "enable", "sync"), "fork_not_allowed")
    changes = {path: str(text).encode() for path, text in says("evil").items()}
    for owner, private in (("eve", False), ("vera", True)):
        fork = world.forge.fork(world.repository, owner, private=private)
        world.forge.push(fork, "hidden-branch", changes, owner)
        head = world.forge.head(fork, "hidden-branch") or ""
        title = "A request"
        world.number = world.forge.open_pull_request(world.repository, f"{owner}:hidden-branch", "main", title, owner)

        await world.comment("/deploy development\n/enable\n/sync\n/status\n/help", by="alice")

        results = {run.name: run.code for run in await world.asked()}
        assert results == {**refused, "status": None, "help": None}
        assert world.live() == "development"
        told = world.comment_text() + str(world.raw_statuses(head))
        assert fork not in told
        assert "hidden-branch" not in told


@pytest.mark.parametrize(("end", "allowed"), [("closed", {"status", "help"}), ("merged", {"status", "help", "sync"})])
async def test_ended_pull_requests(world: World, end: str, allowed: set[str]) -> None:
    """On closed requests one may look; on merged ones also sync. A pin would end with its request, so none is set."""
    await world.enabled("development")
    world.open_pull_request({"topic.txt": "x"})
    if end == "closed":
        world.forge.close_pull_request(world.repository, world.number, "dave")
    else:
        world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()

    await world.comment("/status\n/help\n/sync\n/deploy development\n/enable", by="alice")

    mine = {run.name: run.code for run in await world.asked()}
    assert {name for name, code in mine.items() if code is None} == allowed
    assert mine["deploy"] == "wrong_state"
    assert mine["enable"] == "wrong_state"


async def test_the_log_knows_who_asked_by_their_account(world: World) -> None:
    """One row for a person, however often they ask; what nobody asked for in words is nobody's."""
    world.open_pull_request(says("topic"))
    await world.comment("/help", by="vera")
    await world.comment("/status", by="vera")

    runs = {run.id: run.name for run in await world.runs()}
    told = [event for event in await world.rows(UnifiedEvent) if event.resource_id in runs]
    people = {user.id: user.username for user in await world.rows(User)}
    assert {(runs[event.resource_id], people.get(event.user_id)) for event in told if event.resource_id} >= {
        ("help", "vera"),
        ("status", "vera"),
    }
    assert {event.user_id for event in told if event.actor != "vera"} <= {None}
    assert list(people.values()).count("vera") == 1
