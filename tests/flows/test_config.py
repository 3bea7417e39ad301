"""A changed `.sluice.yaml` is checked and shown where it was changed, and never acted on."""

from tests.world import World, says

GOOD = "version: 1\nenvironments:\n  development: {path: deploy/development}\n"
FASTER = GOOD.replace("}", ", interval: 1m}")
BROKEN = "version: 1\nenvironments:\n  development: {path: deploy/development, aproovals: 2}\n"
PROBLEM = ".sluice.yaml line 3, column 43: environments.development.aproovals is not known here"


async def test_a_broken_file_in_a_pull_request(world: World) -> None:
    """Red, with line, column and field, in the status and in the comment; mended, it is green."""
    head = world.open_pull_request({".sluice.yaml": BROKEN})
    await world.settled()

    [status] = world.statuses(head, "config")
    assert status.startswith(f"failure: {PROBLEM}")
    assert "did you mean `approvals`?" in world.comment_text()
    assert await world.results("config") == [("refused", "config_invalid")]

    head = world.push({".sluice.yaml": GOOD}, branch="topic")
    await world.settled()
    assert [each.state for each in world.raw_statuses(head, "config")] == ["success"]
    assert "did you mean" not in world.comment_text()


async def test_the_difference_is_shown_and_not_acted_on(world: World) -> None:
    """The comment says what would change and what of it weakens; nothing changes before an admin's /enable."""
    await world.enabled("development")
    before = world.object("Kustomization", "development")
    assert before is not None
    theirs = GOOD.replace("}", ", interval: 1m, service_account: root, branch: wild}")
    head = world.open_pull_request({".sluice.yaml": theirs})
    await world.settled()

    [status] = world.statuses(head, "config")
    assert status.startswith("failure: development: the operator does not allow this repository the service account")
    text = world.comment_text()
    assert "`environments.development.service_account`: `sluice-development` → `root` — **weakens**" in text
    assert "`environments.development.interval`: `10m` → `1m`\n" in text
    assert world.object("Kustomization", "development") == before


async def test_a_good_change(world: World) -> None:
    """Green, with the number of changes; after the merge nothing happens until somebody says so."""
    world.push({".sluice.yaml": GOOD})
    await world.enabled("development")
    head = world.open_pull_request({".sluice.yaml": FASTER})
    await world.settled()

    assert world.statuses(head, "config") == ["success: 1 change"]
    text = world.comment_text()
    assert "takes effect when an admin comments `/enable` after the merge" in text
    assert "`10m` → `1m`" in text
    world.forge.merge_pull_request(world.repository, world.number, "alice")
    await world.settled()
    found = world.object("Kustomization", "development")
    assert found is not None
    assert found["spec"]["interval"] == "10m"


async def test_other_changes_are_not_mentioned(world: World) -> None:
    """A pull request that leaves the file alone gets neither status nor comment."""
    head = world.open_pull_request(says("topic"))
    await world.settled()

    assert world.raw_statuses(head) == []
    assert world.comments() == []
    assert await world.results("config") == [("ignored", None)]


async def test_taken_back(world: World) -> None:
    """A later head that does not change it any more says so in the comment."""
    world.push({".sluice.yaml": GOOD})
    world.open_pull_request({".sluice.yaml": BROKEN})
    await world.settled()
    head = world.push({".sluice.yaml": GOOD}, branch="topic")
    await world.settled()

    assert world.raw_statuses(head) == []
    assert "`.sluice.yaml` is as on `main` again." in world.comment_text()


async def test_behind_the_branch(world: World) -> None:
    """What only the branch changed is not taken for the pull request's change without a word."""
    world.open_pull_request(says("topic"))
    await world.settled()
    world.push({".sluice.yaml": GOOD})
    world.push(says("more"), branch="topic")
    await world.settled()

    assert "This change is behind `main`" in world.comment_text()


async def test_a_broken_file_on_the_default_branch(world: World) -> None:
    """Red on that commit; a good one is not mentioned."""
    sha = world.push({".sluice.yaml": BROKEN})
    await world.settled()
    assert world.statuses(sha, "config")[0].startswith(f"failure: {PROBLEM}")
    assert len(world.statuses(sha, "config")) == 1

    sha = world.push({".sluice.yaml": GOOD})
    await world.settled()
    assert world.raw_statuses(sha) == []


async def test_a_lost_delivery(world: World) -> None:
    """A pull request that nobody told of is found, and its configuration checked once."""
    await world.enabled("development")
    world.forge.lose_deliveries(2)
    head = world.open_pull_request({".sluice.yaml": BROKEN}, branch="quiet")
    await world.settled()
    world.forge._deliveries._lose = 0
    assert world.raw_statuses(head) == []

    await world.reconcile()
    await world.reconcile()

    assert [each.state for each in world.raw_statuses(head, "config")] == ["failure"]
