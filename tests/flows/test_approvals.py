"""What needs approvals waits for them: asked for or pushed, it goes when enough people said yes to exactly that."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bot.core.policy import Policy, Rule
from models import Approval, Deployment
from tests.world import World, config_map, ends, says

Act = Callable[[World, str], Any]


def config(rules: str) -> str:
    """A configuration with one environment that is protected."""
    return f"version: 1\nenvironments:\n  production: {{path: deploy/production, {rules}}}\n"


async def enabled(world: World, rules: str = "approvals: 2") -> int:
    """The world's repository has such a configuration, and an admin set it up; the request that it was asked for on."""
    world.push({".sluice.yaml": config(rules)}, by="dave")
    await world.settled()
    await world.enabled("production")
    return (await world.runs("enable"))[0].pull_request or 0


async def released(world: World, rules: str = "approvals: 2") -> int:
    """A production that runs what two people approved; the request that it was enabled on."""
    number = await enabled(world, rules)
    await world.comment("/approve production", by="maia", on=number)
    await world.comment("/approve production", by="alice", on=number)
    assert world.live("production") == "production", world.comment_text(number)
    return number


async def asked(world: World, rules: str = "approvals: 2") -> str:
    """A request whose head waits for production; the head."""
    await released(world, rules)
    head = world.open_pull_request(says("topic", "production"))
    await world.settled()
    await world.comment("/deploy production")
    assert [row.commit_hash for row in await waiting(world)] == [head], world.comment_text()
    return head


async def waiting(world: World) -> list[Deployment]:
    """The deployments that wait."""
    return [row for row in await world.deployments() if row.status == "waiting"]


async def last(world: World, sha: str) -> tuple[str, str | None]:
    """How the newest deployment of a commit is, or ended."""
    row = max(await world.deployments(sha), key=lambda each: each.number)
    return row.status, row.reason


async def voices(world: World) -> list[tuple[str, str | None]]:
    """Whose voices there were, and why they count no more."""
    return [(row.user, row.void_reason) for row in await world.rows(Approval)][-10:]


async def test_nothing_is_deployed_before_it_is_approved(world: World) -> None:
    """`/enable` makes everything but what would let a commit in; two people later it is live."""
    number = await enabled(world)

    [row] = await waiting(world)
    assert (row.commit_hash, row.trigger, row.pull_request) == (world.head(), "push", number)
    assert "production waits to be let through" in world.comment_text(number)
    assert world.live("production") == ""
    assert world.follows("production") == "pin-production"
    assert world.object("GitRepository", "pin-production") is None

    await world.comment("/approve production", by="maia", on=number)
    assert world.live("production") == ""
    await world.comment("/approve", by="alice", on=number)

    assert world.live("production") == "production"
    assert await waiting(world) == []
    assert await last(world, world.head()) == ("succeeded", None)


async def test_a_push_waits(world: World) -> None:
    """The newest of main waits, told on its commit; a newer push takes its place, and the README opens nothing."""
    await released(world)
    first = world.push(says("first", "production"))
    await world.settled()
    assert world.statuses(first, "production")[-1].startswith("pending: Waiting: ")
    readme = world.push({"README.md": "x"})
    await world.settled()
    assert [row.commit_hash for row in await waiting(world)] == [first]
    assert world.raw_statuses(readme, "production") == []

    second = world.push(says("second", "production"))
    await world.settled()

    assert world.live("production") == "production"
    assert [row.commit_hash for row in await waiting(world)] == [second]
    assert world.states(first, "production") == ["pending", "error"]
    world.forge.comment_on_commit(world.repository, second, "/approve production", "maia")
    world.forge.comment_on_commit(world.repository, second, f"/approve production {second[:8]}", "alice")
    await world.settled()
    assert world.live("production") == "second"
    assert world.states(second, "production") == ["pending", "success"]


async def test_a_merge_waits_and_is_approved_on_its_request(world: World) -> None:
    """It is said on the merged request, and approved there; who opened it does not count."""
    await released(world)
    world.open_pull_request(says("topic", "production"))
    await world.settled()
    merged = world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()

    [row] = await waiting(world)
    assert (row.commit_hash, row.pull_request) == (merged, world.number)
    assert "approvals are there" in world.comment_text()
    await world.comment("/approve", by="maia")
    await world.comment("/approve", by="dave")
    assert world.live("production") == "production"
    await world.comment("/approve", by="alice")

    assert world.live("production") == "topic"
    assert [run.code for run in await world.runs("approve") if run.actor == "dave"] == ["not_permitted"]


async def test_who_may(world: World) -> None:
    """Nobody below the role, no bot, not who asked; one voice each, however often it is given."""
    await asked(world)
    await world.comment("/approve", by="vera")
    await world.comment("/approve", by="dave")
    await world.comment("/approve", by="maia")
    await world.comment("/approve", by="maia")
    codes = [(run.actor, run.code) for run in await world.asked() if run.name == "approve"]
    assert codes == [("vera", "not_permitted"), ("dave", "not_permitted"), ("maia", None), ("maia", None)]
    assert world.live("production") == "production"
    assert "1 of 2 approvals" in world.comment_text()

    await world.comment("/approve", by="alice")
    assert world.live("production") == "topic"


async def test_ones_own_change(world: World) -> None:
    """An approver who asks, pushes or wrote is no second pair of eyes."""
    await released(world)
    world.open_pull_request(says("topic", "production"), by="dave")
    world.push(says("more", "production"), branch="topic", by="maia")
    await world.settled()
    await world.comment("/deploy production", by="alice")
    await world.comment("/approve", by="alice")
    await world.comment("/approve", by="maia")

    codes = [run.code for run in await world.asked() if run.name == "approve"]
    assert codes == ["own_change", "own_change"]
    assert world.live("production") == "production"


async def test_named_people(world: World) -> None:
    """Where approvers are named, a writer among them may; deployers narrow who may ask."""
    await enabled(world, "approvals: 1, approvers: ['user:dave'], deployers: ['user:maia']")
    number = (await world.runs("enable"))[0].pull_request
    await world.comment("/approve", by="maia", on=number)
    assert world.live("production") == ""
    world.push({"x.txt": "x"}, by="alice")
    await world.comment("/approve", by="dave", on=number)
    assert world.live("production") == "production"

    world.open_pull_request(says("topic", "production"), by="alice")
    await world.settled()
    await world.comment("/deploy production", by="alice")
    assert [run.code for run in await world.asked() if run.name == "deploy"] == ["not_permitted"]
    await world.comment("/deploy production", by="maia")
    await world.comment("/approve", by="dave")
    assert world.live("production") == "topic"


def pushed(world: World, branch: str) -> None:
    world.push(says("newer", "production"), branch=branch)


def forced(world: World, branch: str) -> None:
    world.push(says("other", "production"), branch=branch, force_parent=world.head())


def drafted(world: World, _branch: str) -> None:
    world.forge.set_draft(world.repository, world.number, "dave")


def retargeted(world: World, _branch: str) -> None:
    world.forge.create_branch(world.repository, "release", world.head(), "dave")
    world.forge.retarget(world.repository, world.number, "release", "dave")


def configured(world: World, _branch: str) -> None:
    world.push({".sluice.yaml": config("approvals: 3")})


def closed(world: World, _branch: str) -> None:
    world.forge.close_pull_request(world.repository, world.number, "dave")


MOVES: dict[str, tuple[Act, tuple[str, str]]] = {
    "push": (pushed, ("superseded", "ref_changed")),
    "force-push": (forced, ("superseded", "ref_changed")),
    "draft": (drafted, ("superseded", "ref_changed")),
    "retarget": (retargeted, ("superseded", "ref_changed")),
    "close": (closed, ("cancelled", "request_closed")),
    "configuration": (configured, ("superseded", "ref_changed")),
}


LONG = ("force-push", "retarget", "close")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.thorough if each in LONG else ()) for each in MOVES]
)
async def test_what_moves_before_the_last_approval(world: World, name: str) -> None:
    """It ends, says what moved, and the voice that there was is void; the last one is told."""
    act, end = MOVES[name]
    head = await asked(world)
    await world.comment("/approve", by="maia")
    act(world, "topic")
    await world.settled()
    assert await last(world, head) == end, world.comment_text()
    assert ("maia", end[1]) in await voices(world)

    world.write(f"/approve production {head[:8]}", by="alice")
    await world.settled()
    assert world.live("production") == "production"
    assert ends(world.statuses(head, "production"))


@pytest.mark.thorough
async def test_what_moves_with_the_last_approval(world: World) -> None:
    """The move and the approval arrive together, the approval first: the forge is asked before anything goes."""
    await released(world)
    for name, (act, end) in MOVES.items():
        head = world.open_pull_request(says(name, "production"), branch=name)
        await world.settled()
        await world.comment("/deploy production --behind")
        await world.comment("/approve", by="maia")
        world.forge.hold_deliveries()
        world.write("/approve production", by="alice")
        act(world, name)
        world.forge.release()
        await world.settled()

        assert world.live("production") == "production"
        assert await last(world, head) == end, world.comment_text()


async def test_a_changed_policy(world: World) -> None:
    """The operator's file says something else of this repository after the first yes: what was approved ends."""
    head = await asked(world)
    await world.comment("/approve", by="maia")
    before = world.place.settings
    limits = Policy(rules=(Rule(match=("acme/*",), namespaces=("elsewhere-*",)),))
    world.place.settings = msgspec.structs.replace(before, policy=limits)
    try:
        await world.restart()
        await world.comment("/approve", by="alice")
        assert await last(world, head) == ("superseded", "ref_changed")
        assert ("maia", "ref_changed") in await voices(world)
        assert "the operator's policy has moved since it was asked for" in world.comment_text()
        assert world.live("production") == "production"
    finally:
        world.place.settings = before
        await world.restart()


async def test_an_approver_who_lost_the_role(world: World) -> None:
    """The voice was counted once, and does not count when it goes."""
    await asked(world)
    await world.comment("/approve", by="maia")
    world.forge.set_permission(world.repository, "maia", "write")
    try:
        await world.comment("/approve", by="alice")
        assert world.live("production") == "production"
        assert ("maia", "role_lost") in await voices(world)
    finally:
        world.forge.set_permission(world.repository, "maia", "maintain")
    await world.comment("/approve", by="maia")
    assert world.live("production") == "topic"


async def test_reject_and_cancel(world: World) -> None:
    """One no is enough; who asked may take it back, others may not."""
    head = await asked(world)
    await world.comment("/reject production not on a Friday", by="maia")
    assert await last(world, head) == ("rejected", "rejected")
    assert "not on a Friday" in world.comment_text()

    await world.comment("/deploy production")
    await world.comment("/cancel production", by="maia")
    assert await last(world, head) == ("waiting", None)
    await world.comment("/cancel production", by="dave")
    assert await last(world, head) == ("cancelled", "cancelled")
    await world.comment("/approve", by="maia")
    assert [run.code for run in await world.asked()][-1] == "nothing_waits"
    assert world.live("production") == "production"

    pushed = world.push(says("main went on", "production"))
    await world.settled()
    await world.comment("/deploy production --behind")
    assert await last(world, pushed) == ("superseded", None)
    await world.comment("/cancel production", by="dave")
    assert await last(world, pushed) == ("waiting", None), "nobody said no to what the push brought"


async def test_reviews_count_where_that_is_said(world: World) -> None:
    """A review of exactly the commit that waits is a voice, until it is dismissed."""
    head = await asked(world, "approvals: 2, reviews_count: true")
    review = world.forge.review(world.repository, world.number, "maia")
    await world.settled()
    assert "1 of 2 approvals" in world.comment_text()
    world.forge.dismiss_review(world.repository, world.number, review, "alice")
    await world.comment("/approve", by="alice")
    assert await last(world, head) == ("waiting", None)

    world.forge.review(world.repository, world.number, "maia")
    await world.settled()
    assert world.live("production") == "topic"


async def test_a_newer_one_takes_its_place(world: World) -> None:
    """Another request's /deploy; the first one's approvals are gone with it, and what runs is not touched."""
    first, number = await asked(world), world.number
    await world.comment("/approve", by="maia")
    second = world.open_pull_request(says("second", "production"), branch="second")
    await world.settled()
    await world.comment("/deploy production")

    assert await last(world, first) == ("superseded", None)
    assert [row.commit_hash for row in await waiting(world)] == [second]
    await world.comment("/approve", by="alice", on=number)
    await world.comment("/approve", by="maia")
    assert world.live("production") == "production"
    await world.comment("/approve", by="alice")
    assert world.live("production") == "second"


async def test_protection_is_turned_on_and_off(world: World) -> None:
    """What follows is pinned to what it has, and back again; nothing that runs is touched."""
    world.push({".sluice.yaml": config("interval: 5m")})
    await world.settled()
    await world.enabled("production")
    number = (await world.runs("enable"))[0].pull_request
    assert world.follows("production") == "branch-main"
    world.push({".sluice.yaml": config("approvals: 1")})
    await world.settled()
    await world.comment("/enable", by="alice", on=number)
    assert world.follows("production") == "pin-production"
    assert world.object("GitRepository", "branch-main") is None  # nobody follows it any more
    assert [row.trigger for row in await world.deployments()] == ["enable", "enable"]
    world.push(says("pushed", "production"))
    await world.settled()
    assert world.live("production") == "production"
    assert len(await waiting(world)) == 1

    world.push({".sluice.yaml": config("interval: 5m")})
    await world.settled()
    assert len(await waiting(world)) == 1  # until /enable the stricter holds
    await world.comment("/enable", by="alice", on=number)
    assert world.follows("production") == "branch-main"
    assert world.live("production") == "pushed"
    assert world.object("GitRepository", "pin-production") is None
    assert await waiting(world) == []


async def test_by_command_only(world: World) -> None:
    """Without auto_sync and without approvals a push opens nothing, and /deploy goes at once."""
    await enabled(world, "auto_sync: false")
    assert await world.deployments() == []
    head = world.open_pull_request(says("topic", "production"))
    await world.settled()
    await world.comment("/deploy production")
    assert world.live("production") == "topic"

    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert world.live("production") == "topic"
    assert (await world.pins())[0].commit_hash == head


async def test_an_order(world: World) -> None:
    """Production comes after staging: a push waits until the same succeeded there."""
    both = (
        "version: 1\nenvironments:\n  staging: {path: deploy/staging, auto_sync: false}\n"
        "  production: {path: deploy/production, after: staging}\n"
    )
    world.push({".sluice.yaml": both})
    await world.settled()
    await world.enabled("staging", "production")
    [row] = await waiting(world)
    assert row.message is not None
    assert "deploy it to staging first" in row.message
    number = (await world.runs("enable"))[0].pull_request
    assert number is not None
    world.forge.comment_on_commit(world.repository, world.head(), "/deploy staging", "dave")
    await world.settled()
    await world.settled()

    assert world.live("staging") == "staging"
    assert world.live("production") == "production"


async def test_forks(world: World) -> None:
    """Nothing is done for a fork unless the environment says so; then with an approval of exactly that commit."""
    world.push({".sluice.yaml": config("forks: true, auto_sync: false")})
    await world.settled()
    await world.enabled("production")
    fork = world.forge.fork(world.repository, "eve")
    world.forge.push(fork, "topic", {"deploy/production/config.yaml": config_map("fork").encode()}, "eve")
    head = world.forge.head(fork, "topic")
    world.number = world.forge.open_pull_request(world.repository, "eve:topic", "main", "From a fork", "eve")
    await world.settled()
    await world.comment("/deploy production", by="eve")
    await world.comment("/deploy production", by="dave")
    assert [row.commit_hash for row in await waiting(world)] == [head], world.comment_text()
    assert [run.code for run in await world.asked()] == ["not_permitted", None]

    await world.comment("/approve production", by="maia")
    assert world.live("production") == "fork"
    print(world.comment_text())


async def test_forks_are_refused(world: World) -> None:
    """Without a word on forks every command but those that only show is refused."""
    await released(world, "approvals: 2")
    fork = world.forge.fork(world.repository, "eve")
    world.forge.push(fork, "topic", {"deploy/production/config.yaml": config_map("fork").encode()}, "eve")
    world.number = world.forge.open_pull_request(world.repository, "eve:topic", "main", "From a fork", "eve")
    await world.settled()
    await world.comment("/deploy production\n/approve", by="dave")
    assert {run.name: run.code for run in await world.asked()} == {
        "deploy": "fork_not_allowed",
        "approve": "nothing_waits",
    }
    assert await waiting(world) == []


async def test_whoever_changed_something_else_may_approve(world: World) -> None:
    """Commits that production is not made of bar nobody: else one README, and an approver is one no more."""
    await released(world)
    world.push({"README.md": "Mended\n"}, by="maia")
    await world.settled()
    commit = world.push(says("pushed", "production"), by="dave")
    await world.settled()

    for login in ("maia", "alice"):
        world.forge.comment_on_commit(world.repository, commit, "/approve", login)
    await world.settled()
    assert world.live("production") == "pushed"


async def test_whoever_pushed_a_part_may_not_approve(world: World) -> None:
    """Also where a later push took over, and the commit says that somebody else wrote it."""
    await released(world)
    text = {path: str(said).encode() for path, said in says("slipped in", "production").items()}
    world.forge.push(world.repository, "main", text, by="maia", author="Dave <dave@example.test>")
    await world.settled()
    commit = world.push({"deploy/production/extra.yaml": config_map("x")} | says("both", "production"), by="dave")
    await world.settled()

    for login in ("maia", "alice"):
        world.forge.comment_on_commit(world.repository, commit, "/approve", login)
    await world.settled()
    assert world.live("production") == "production"
    assert [run.code for run in await world.runs("approve") if run.actor == "maia"][-1] == "own_change"


async def test_before_anything_was_let_through(world: World) -> None:
    """What shows and what ends an environment works while nothing is there yet."""
    number = await enabled(world)
    await world.comment("/status\n/sync production\n/history production\n/rollback production", by="alice", on=number)
    codes = {run.name: run.code for run in await world.runs() if run.pull_request == number}
    assert (codes["status"], codes["history"]) == (None, None)
    assert codes["sync"] == "nothing_live"
    assert codes["rollback"] == "never_deployed_here"
    await world.comment("/disable", by="alice", on=number)
    assert [run.code for run in await world.runs("disable")] == [None], world.comment_text(number)
    assert await waiting(world) == []


async def test_a_comment_on_a_commit_of_a_fork(world: World) -> None:
    """Forks share their commits with the forge: one that is on no branch here is not deployed by a comment on it."""
    await enabled(world, "auto_sync: false")
    head = world.push(says("elsewhere", "production"), branch="elsewhere")
    await world.settled()
    world.forge.comment_on_commit(world.repository, head, "/deploy production", "dave")
    await world.settled()
    assert [run.code for run in await world.runs("deploy")] == ["sha_not_in_change"]
    assert await world.deployments() == []
