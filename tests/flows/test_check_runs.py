"""Where Sluice is a GitHub App as well, check runs say it, and have buttons."""

import pytest

from tests.credentials.conftest import APP, PEM, PUBLIC_PEM
from tests.flows.test_approvals import enabled, last, waiting
from tests.world import World

NAME = "sluice/production"


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SLUICE_GITHUB_APP_ID": APP, "SLUICE_GITHUB_APP_PRIVATE_KEY": PEM}


async def press(world: World, button: str, by: str) -> None:
    """Press a button below the check of production."""
    world.forge.press(world.repository, world.head(), NAME, by, button)
    await world.settled()


def shown(world: World) -> list[tuple[str, str | None]]:
    """The check runs of production, oldest first."""
    found = world.forge.check_runs(world.repository, world.head())
    return [(run.status, run.conclusion) for run in found if run.name == NAME]


async def test_a_release_by_buttons(world: World) -> None:
    """What waits for a voice asks for it in its check; who may has it go; no status beside it."""
    place = world.place
    world.forge.add_app(APP, PUBLIC_PEM, {"checks": "write"}, f"{place.url}/webhooks/github", place.town.webhook_secret)
    world.forge.install_app(APP, world.repository)
    await enabled(world, "approvals: 1")
    assert shown(world) == [("completed", "action_required")]
    [run] = world.forge.check_runs(world.repository, world.head())
    assert "0 of 1 approvals are there" in run.output["summary"]

    await press(world, "approve", "dave")
    await press(world, "reject", "eve")
    assert [(each.actor, each.code) for name in ("approve", "reject") for each in await world.runs(name)] == [
        ("dave", "not_permitted"),
        ("eve", "not_permitted"),
    ]
    assert len(await waiting(world)) == 1
    world.forge.press(world.repository, world.head(), NAME, "dave")  # "run again": GitHub forgets what it said
    await world.settled()
    assert shown(world) == [("completed", "action_required")]

    await press(world, "approve", "maia")
    assert world.live("production") == "production"
    assert await last(world, world.head()) == ("succeeded", None)
    assert shown(world) == [("completed", "action_required"), ("completed", "success")]
    assert world.raw_statuses(world.head(), "production") == []
