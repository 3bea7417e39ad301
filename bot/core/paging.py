"""Long answers in pages: whole lines, and how to see the next."""

from collections.abc import Iterable

from bot.core.conversation import RESULT_LIMIT
from bot.core.errors import UserError

ROOM = RESULT_LIMIT - 200  # for the line below, and for what making texts harmless adds


def page(text: str, number: int, again: str, *, room: int = ROOM) -> str:
    """The page of that number; `again` is the command that was written. UserError `nothing_there` if there is none."""
    found = pages(text.split("\n"), room)
    if number > len(found):
        there = "one page" if len(found) == 1 else f"{len(found)} pages"
        raise UserError("nothing_there", f"there is no page {number}, there is {there}")
    if len(found) == 1:
        return text
    then = f"; `{again} --page {number + 1}` shows the next" if number < len(found) else ""
    return f"{found[number - 1]}\n\nPage {number} of {len(found)}{then}."


def pages(lines: Iterable[str], room: int) -> list[str]:
    """As many lines on each as fit; a line that is longer than a page has one of its own."""
    found: list[list[str]] = [[]]
    left = room
    for line in lines:
        if found[-1] and len(line) + 1 > left:
            found.append([])
            left = room
        found[-1].append(line)
        left -= len(line) + 1
    return ["\n".join(each).strip("\n") for each in found]
