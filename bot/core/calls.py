"""A call: one thing to carry out, derived from an event."""

import uuid
from typing import Any

import msgspec

RUN_NAMESPACE = uuid.UUID("6f2b8a0e-64a3-4f0e-9a55-3a1f5c1d7e10")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, for whom. Rows keep it; messages only carry the run's id.

    `kind` is "command" (a person wrote it) or "work" (an event asks for it); `name` finds the handler. `words` are a
    command's arguments as written, `arguments` a work's. `key` names the event, so that the same event under two
    deliveries is one run.
    """

    kind: str
    name: str
    key: str
    actor: str
    actor_id: str = ""  # the account's number; "" where nobody's account caused it
    words: tuple[str, ...] = ()
    arguments: dict[str, Any] = {}
    number: int | None = None  # the pull request
    commit: str | None = None  # the commit that was commented on, where it was not a pull request
    line: int | None = None  # the line of the comment, from 1
    comment_id: str | None = None
    operator: bool = False  # asked for on the command line: the operator may do everything

    @property
    def run_id(self) -> uuid.UUID:
        """The run's id: equal for equal keys."""
        return uuid.uuid5(RUN_NAMESPACE, self.key)
