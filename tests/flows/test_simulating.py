"""What if somebody said it: every gate is asked, and nothing is changed."""

import pytest

from bot.core.errors import UserError
from bot.simulating import Answer, Question, simulate
from tests.flows.test_approvals import enabled
from tests.world import World, says


async def ask(world: World, login: str, command: str, **more: object) -> Answer:
    """The answer for production, and proof that nothing came of asking."""
    before = (len(world.forge.effects), [(row.id, row.status) for row in await world.deployments()])
    question = Question(
        repository=world.repository,
        login=login,
        command=command,
        target="production",
        **more,  # type: ignore[arg-type]
    )
    [answer] = await simulate(world.place.settings, question)
    assert before == (len(world.forge.effects), [(row.id, row.status) for row in await world.deployments()])
    return answer


def outcome(answer: Answer) -> tuple[str, str | None]:
    first = answer.verdict.first
    return answer.verdict.outcome, first.code if first else None


async def test_what_if(world: World) -> None:
    """Who may, what would wait, whose yes would count, and what would be missing after it."""
    await enabled(world)
    number = (await world.runs("enable"))[0].pull_request

    assert outcome(await ask(world, "vera", "deploy")) == ("refuse", "not_permitted")
    assert outcome(await ask(world, "eve", "deploy")) == ("refuse", "not_permitted")
    assert outcome(await ask(world, "dave", "deploy", pull_request=number)) == ("wait", "approvals_missing")
    assert outcome(await ask(world, "dave", "rollback")) == ("refuse", "never_deployed_here")
    assert outcome(await ask(world, "dave", "approve")) == ("refuse", "not_permitted")
    answer = await ask(world, "maia", "approve")
    assert outcome(answer) == ("wait", "approvals_missing")
    assert answer.commit == world.head()
    assert "1 of 2" in answer.verdict.reasons[-1].text

    await world.comment("/approve production", by="maia", on=number)
    assert outcome(await ask(world, "alice", "approve")) == ("go", None)
    assert outcome(await ask(world, "maia", "approve")) == ("wait", "approvals_missing")
    assert outcome(await ask(world, "alice", "cancel")) == ("go", None)

    # Whoever only wrote a commit is known by their account, as when they say it.
    await world.comment("/approve production", by="alice", on=number)
    change = {path: text.encode() for path, text in says("mended", "production").items() if isinstance(text, str)}
    head = world.forge.push(world.repository, "main", change, by="dave", author="maia <maia@example.test>")
    await world.settled()
    simulated = outcome(await ask(world, "maia", "approve"))
    world.forge.comment_on_commit(world.repository, head, "/approve production", "maia")
    await world.settled()
    assert simulated == ("refuse", [run.code for run in await world.runs("approve")][-1]) == ("refuse", "own_change")


async def test_what_cannot_be_asked(world: World) -> None:
    """Each with its code."""
    await enabled(world)
    for more, code in (({"commit": "feedfeed"}, "sha_not_in_change"), ({"pull_request": 999}, "no_pull_request")):
        with pytest.raises(UserError) as refused:
            await ask(world, "dave", "deploy", **more)
        assert refused.value.code == code
    with pytest.raises(UserError) as refused:
        await simulate(world.place.settings, Question(repository="acme/x", login="x", command="lock", target="x"))
    assert refused.value.code == "repository_unknown"
