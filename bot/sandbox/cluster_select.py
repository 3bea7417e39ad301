"""Label and field selectors of the Kubernetes API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bot.sandbox.cluster_errors import ApiError, Json

Test = Callable[[Mapping[str, str]], bool]
Match = Callable[[Json], bool]

_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(rf"(?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)$")
_EXISTS = re.compile(rf"(?P<not>!?)\s*(?P<key>{_KEY})$")
_SPLIT = re.compile(r",(?![^()]*\))")


def labels(selector: str) -> Test:
    """A test for a label selector."""
    tests = [_requirement(part.strip()) for part in _SPLIT.split(selector)] if selector.strip() else []
    return lambda found: all(test(found) for test in tests)


def _requirement(text: str) -> Test:
    if match := _SET.match(text):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return lambda found: found.get(key) in values
        return lambda found: found.get(key) not in values
    if match := _EQUAL.match(text):
        key, value = match["key"], match["value"]
        if match["op"] == "!=":
            return lambda found: found.get(key) != value
        return lambda found: found.get(key) == value
    if match := _EXISTS.match(text):
        key, absent = match["key"], bool(match["not"])
        return lambda found: (key in found) is not absent
    raise ApiError(400, f"unable to parse requirement: found '{text}', expected: a requirement")


def fields(selector: str) -> Match:
    """A test for a field selector; only an object's name and namespace can be asked for."""
    wanted: list[tuple[str, str, bool]] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        match = re.fullmatch(r"([\w.]+)(==|=|!=)(.*)", part)
        if match is None:
            raise ApiError(400, f"invalid selector: '{part}'; can't understand '{part}'")
        if match[1] not in ("metadata.name", "metadata.namespace"):
            raise ApiError(400, f"field label not supported: {match[1]}")
        wanted.append((match[1].removeprefix("metadata."), match[3], match[2] != "!="))
    return lambda obj: all((obj["metadata"].get(key, "") == value) is same for key, value, same in wanted)


def matcher(label_selector: str, field_selector: str) -> Match:
    """Both selectors at once."""
    by_label, by_field = labels(label_selector), fields(field_selector)
    return lambda obj: by_field(obj) and by_label(obj["metadata"].get("labels") or {})
