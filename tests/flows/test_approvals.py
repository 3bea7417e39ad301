"""What needs approvals waits for them: asked for or pushed, it goes when enough people said yes to exactly that."""

from models import Deployment
from tests.world import Files, World, files

TWO = "approvals: 2"
ONE = "approvals: 1"


def config(production: str, development: str = "") -> str:
    """A configuration with one environment that is free and one that is protected."""
    return (
        "version: 1\nenvironments:\n"
        f"  development: {{path: deploy/development{', ' + development if development else ''}}}\n"
        f"  production: {{path: deploy/production, {production}}}\n"
    )


def protected(rules: str = TWO, **more: str) -> Files:
    """A repository whose production wants something."""
    return files() | {".sluice.yaml": config(rules, **more)}


async def enabled(world: World, rules: str = TWO) -> None:
    """The world's repository has such a configuration, and an admin set it up."""
    world.push({".sluice.yaml": config(rules)}, by="dave")
    await world.settled()
    await world.enabled("production")


async def waiting(world: World) -> list[Deployment]:
    """The deployments that wait."""
    return [row for row in await world.deployments() if row.status == "waiting"]


async def ended(world: World, sha: str) -> tuple[str, str | None]:
    """How the newest deployment of a commit ended."""
    row = (await world.deployments(sha))[-1]
    return row.status, row.reason


async def released(world: World, rules: str = TWO) -> str:
    """A production that runs what two people approved; the commit."""
    await enabled(world, rules)
    await world.comment("/approve production", by="maia", on=world.number)
    await world.comment("/approve production", by="alice", on=world.number)
    return world.head()


async def test_nothing_is_deployed_before_it_is_approved(world: World) -> None:
    """`/enable` makes everything but what would let a commit in; two people later it is live."""
    await enabled(world)
    number = (await world.runs("enable"))[0].pull_request
    assert number is not None

    [row] = await waiting(world)
    assert (row.commit_hash, row.trigger, row.pull_request) == (world.head(), "push", number)
    assert world.live("production") == ""
    assert world.follows("production") == "pin-production"
    assert world.object("GitRepository", "pin-production") is None

    await world.comment("/approve production", by="maia", on=number)
    assert world.live("production") == ""
    await world.comment("/approve", by="alice", on=number)

    assert world.live("production") == "production"
    assert await waiting(world) == []
    assert (await ended(world, world.head())) == ("succeeded", None)
    print(world.comment_text(number))
