"""Somebody commented on a pull request or a commit: find the commands in it."""

import msgspec

from bot.context import Context
from bot.core.calls import Call
from bot.core.comments import NearMiss, spoken
from bot.core.conversation import MARKER, code
from bot.core.events import Commented
from bot.core.results import Result, refused
from bot.registry import commands, event, work


class Unclear(msgspec.Struct, frozen=True):
    """Words that were nearly a command, or a command that cannot be read."""

    code: str
    text: str
    written: str  # the word, with its slash


@event(Commented)
def calls(event: Commented) -> list[Call]:
    """One call for each command; the comment and the line are its key, for ever. Bots and our own texts are silent."""
    if event.actor_is_bot or MARKER in event.body:
        return []
    return [_call(event, found) for found in spoken(event.body, commands())]


def _call(event: Commented, found: object) -> Call:
    repository = event.repository
    line = getattr(found, "line", 0)
    base = Call(
        kind="command",
        name=getattr(found, "name", ""),
        key=f"{repository.forge}:{repository.id}:comment:{event.comment_id}:{line}",
        actor=event.actor,
        actor_id=event.actor_id,
        words=getattr(found, "words", ()),
        number=event.number,
        commit=event.commit,
        line=line,
        comment_id=event.comment_id,
    )
    if isinstance(found, NearMiss):
        text = f"there is no {code(f'/{found.word}', 60)}; did you mean {code(f'/{found.suggestion}')}?"
        return _unclear(base, "unknown_command", text, f"/{found.word}")
    error = getattr(found, "error", None)
    return _unclear(base, "usage", error, f"/{base.name}") if error else base


def _unclear(base: Call, code: str, text: str, written: str) -> Call:
    return msgspec.structs.replace(
        base, kind="work", name="unclear", words=(), arguments={"code": code, "text": text, "written": written}
    )


@work("unclear")
async def unclear(ctx: Context, args: Unclear) -> Result:
    """Say what was wrong with the words."""
    return refused(args.code, args.text)
