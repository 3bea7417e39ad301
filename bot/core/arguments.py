"""Turns the words of a command into its arguments, and its arguments into a usage line."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from bot.core.comments import nearest
from bot.core.errors import UserError

Arguments = TypeVar("Arguments", bound=msgspec.Struct)
_DASHES = "–—"  # what telephones make of two hyphens


class _Slot(msgspec.Struct, frozen=True):
    """One field of a command's arguments. `kind` is positional, rest, flag, option or repeated."""

    field: str
    kind: str
    required: bool
    description: str
    type: Any

    @property
    def label(self) -> str:
        """The name that people read and write; a field that Python has a word for ends in `_`."""
        return self.field.rstrip("_").replace("_", "-")

    @property
    def shown(self) -> str:
        """The slot in a usage line."""
        if self.kind == "positional":
            return f"<{self.label}>" if self.required else f"[{self.label}]"
        if self.kind == "rest":
            return f"<{self.label}>…" if self.required else f"[{self.label}…]"
        if self.kind == "flag":
            return f"[--{self.label}]"
        return f"[--{self.label} <{_value(self.type)}>]" + ("…" if self.kind == "repeated" else "")


def usage(name: str, struct: type[msgspec.Struct]) -> str:
    """The usage line of a command, without any markup: `/deploy <target> [--reason <text>]`."""
    return " ".join([f"/{name}", *(slot.shown for slot in _slots(struct))])


def explain(struct: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Each argument as it stands in the usage line, with its description."""
    return [(slot.shown, slot.description) for slot in _slots(struct) if slot.description]


def convert(words: Sequence[str], struct: type[Arguments], name: str = "") -> Arguments:
    """The arguments of a command; UserError `usage` says what is wrong with them, and how it is written."""
    try:
        values = _collect(words, _slots(struct))
        return msgspec.convert(values, struct, strict=False)
    except _Misused as error:
        problem = str(error)
    except msgspec.ValidationError as error:
        problem = _worded(str(error), _slots(struct))
    sentence = problem if problem.endswith("?") else f"{problem}."
    raise UserError("usage", f"{sentence} Usage: {usage(name, struct)}" if name else sentence)


class _Misused(Exception):
    """The words do not fit; the message says why."""


def _slots(struct: type[msgspec.Struct]) -> list[_Slot]:
    """The fields of a Struct as a command's arguments: positionals first, then the rest, then the options."""
    hints = get_type_hints(struct, include_extras=True)
    slots = []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        meta = next((part for part in get_args(hint) if isinstance(part, msgspec.Meta)), msgspec.Meta())
        plain = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        kind = _kind(plain, field.required, meta.extra or {})
        slots.append(_Slot(field.name, kind, field.required, meta.description or "", plain))
    order = ("positional", "rest", "repeated", "option", "flag")
    return sorted(slots, key=lambda slot: order.index(slot.kind))


def _kind(plain: Any, required: bool, extra: dict[str, Any]) -> str:
    """What a field is. `Meta(extra=…)` may say {"positional": True} or {"option": True} where the type does not."""
    if get_origin(plain) is tuple:
        return "repeated" if extra.get("option") else "rest"
    if plain is bool:
        return "flag"
    return "positional" if required or extra.get("positional") else "option"


def _collect(words: Sequence[str], slots: list[_Slot]) -> dict[str, Any]:
    """The values by field, all of them still text."""
    options = {slot.label: slot for slot in slots if slot.kind in ("flag", "option", "repeated")}
    values: dict[str, Any] = {}
    loose: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if word == "--":
            loose.extend(reversed(waiting))
            break
        if word.startswith("--"):
            slot, value = _option(word, options, waiting)
            if slot.kind == "repeated":
                values.setdefault(slot.field, []).append(value)
            elif slot.field in values:
                raise _Misused(f"--{slot.label} is given twice")
            else:
                values[slot.field] = value
        elif len(word) > 1 and word[0] in "-" + _DASHES and word[1].isalpha():
            raise _Misused(_unknown(word, options))
        else:
            loose.append(word)
    _place(loose, slots, values)
    return values


def _option(word: str, options: dict[str, _Slot], waiting: list[str]) -> tuple[_Slot, Any]:
    """The option that a word names, and its value; takes the value from the waiting words where it is one of these."""
    label, has_value, value = word[2:].partition("=")
    slot = options.get(label)
    if slot is None:
        raise _Misused(_unknown(f"--{label}", options))
    if slot.kind == "flag":
        if has_value:
            raise _Misused(f"--{label} takes no value")
        return slot, True
    if has_value:
        return slot, value
    if not waiting or waiting[-1].startswith("--"):
        raise _Misused(f"--{label} needs a value (for one that begins with two hyphens, write --{label}=…)")
    return slot, waiting.pop()


def _unknown(word: str, options: dict[str, _Slot]) -> str:
    """What to say about an option that does not exist."""
    label = word.lstrip("-" + _DASHES).partition("=")[0].lower()
    guess = label if label in options else nearest(label, options)
    close = guess or next((name for name in options if label and name.startswith(label)), None)
    return f"there is no option {_shortened(word)}" + (f"; did you mean --{close}?" if close else "")


def _place(loose: list[str], slots: list[_Slot], values: dict[str, Any]) -> None:
    """Gives the words that are no options to the positional fields, in order."""
    remaining = list(loose)
    for slot in slots:
        if slot.kind == "positional":
            if remaining:
                values[slot.field] = remaining.pop(0)
            elif slot.required:
                raise _Misused(f"<{slot.label}> is missing")
        elif slot.kind == "rest":
            if slot.required and not remaining:
                raise _Misused(f"<{slot.label}> is missing")
            values[slot.field], remaining = remaining, []
    if remaining:
        raise _Misused(f"“{_shortened(remaining[0])}” is one word too many (words with blanks go into quotes)")


def _shortened(word: str) -> str:
    return word if len(word) <= 60 else word[:59] + "…"


def _value(plain: Any) -> str:
    """The word for what an option takes."""
    names = {int: "number", float: "number"}
    kinds = [part for part in get_args(plain) if part is not type(None)] or [plain]
    return names.get(kinds[0], "text")


def _worded(message: str, slots: list[_Slot]) -> str:
    """msgspec's message with the argument as people know it, instead of a path."""
    problem, _, path = message.partition(" - at `$.")
    field = path.rstrip("`").partition("[")[0]
    slot = next((slot for slot in slots if slot.field == field), None)
    problem = problem.replace("Expected `int`, got `str`", "must be a whole number")
    problem = problem.replace("Expected `float`, got `str`", "must be a number")
    problem = problem[:1].lower() + problem[1:]
    if slot is None:
        return problem
    return f"{'<' + slot.label + '>' if slot.kind in ('positional', 'rest') else '--' + slot.label}: {problem}"
