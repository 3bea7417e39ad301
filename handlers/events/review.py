"""Somebody reviewed a pull request: where reviews count, what waits for it is looked at again."""

from bot.core.arrivals import stirred_call
from bot.core.calls import Call
from bot.core.events import Reviewed
from bot.registry import event


@event(Reviewed)
def calls(event: Reviewed) -> list[Call]:
    """What a review says, and of which commit, the forge is asked when it matters; also bots dismiss reviews."""
    if event.actor_is_bot and event.verdict != "dismissed":
        return []
    repository = event.repository
    return [stirred_call(repository.forge, repository.id, event.number, "reviewed", event.actor)]
