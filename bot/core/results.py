"""What came of a call."""

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one run. `outcome` is done, refused or ignored; `code` is the reason code; `text` is Markdown.

    `calls`: whom it is about did nothing just now, and an edit of the one comment tells nobody; so they are called.
    """

    outcome: str
    text: str
    code: str | None = None
    calls: bool = False


def done(text: str, *, calls: bool = False) -> Result:
    """The call did what it should."""
    return Result(outcome="done", text=text, calls=calls)


def refused(code: str, text: str) -> Result:
    """The call was not allowed or not possible, and changed nothing."""
    return Result(outcome="refused", code=code, text=text)


def ignored(text: str, code: str | None = None) -> Result:
    """There was nothing to do; nobody is told."""
    return Result(outcome="ignored", text=text, code=code)
