"""Errors sorted by who can act on them."""


class BotError(Exception):
    """Every error that Sluice raises on purpose."""


class UserError(BotError):
    """The author of the command or push can fix this; `message` is shown to them as it is.

    `code` is the stable reason code: the same in the comment, the API, the log and docs/reason-codes.md.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FieldConflict(UserError):
    """Another manager owns fields of ours. `fields` are these, each with its manager, in words."""

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        super().__init__("field_conflict", message)
        self.fields = fields


class TemporaryError(BotError):
    """Worth trying again: the forge, Flux or the network was not ready. `delay` is in seconds."""

    def __init__(self, message: str, delay: float = 5.0) -> None:
        super().__init__(message)
        self.delay = delay


class DiskFull(TemporaryError):
    """The database has no room left: nothing can be written down, so nothing goes on until there is some."""

    def __init__(self) -> None:
        super().__init__(
            "the disk of the database is full; nothing is lost, and all goes on by itself when there is room",
            delay=15.0,
        )


class ConfigError(BotError):
    """The operator's settings are unusable; the message names the setting and what to do."""


class Undecodable(BotError):
    """A body that is not what its event promises; it is put away as it is."""


class BranchMoved(BotError):
    """The branch is no longer at the commit that was decided on: read it again and decide again."""


class StaleObject(BotError):
    """The cluster's object is no longer the one that was decided on: read it again and decide again."""
