"""Puts a repository's files of values together, as Helm does: maps are merged, of everything else the last one wins."""

import math
from collections.abc import Sequence
from typing import Any

import yaml

from bot.core.errors import UserError
from bot.core.safe_yaml import BrokenYaml, compose

Values = dict[str, Any]

MOST = 20_000


class _Loader(yaml.CSafeLoader):
    """Reads what Helm reads: a date is a text there."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def merged(files: Sequence[tuple[str, bytes]]) -> Values:
    """The values of files in their order, by path and content; UserError `values_invalid` for what holds none."""
    result: Values = {}
    for path, content in files:
        result = _over(result, _read(path, content))
    return result


def _read(path: str, content: bytes) -> Values:
    try:
        node = compose(content)
        found = {} if node is None else _Loader("").construct_document(node)
    except BrokenYaml as error:
        raise UserError("values_invalid", f"{path}:{error.line}:{error.column}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError("values_invalid", f"{path}: {str(error).splitlines()[0][:200]}") from error
    if found is None:
        return {}
    _check(path, found)
    return dict(found)


def _check(path: str, found: Any) -> None:
    """Only what JSON has can be written into an object."""
    if not isinstance(found, dict):
        raise UserError("values_invalid", f"{path} holds no values: a mapping is needed")
    pending: list[Any] = [found]
    seen = 0
    while pending:
        each = pending.pop()
        seen += 1
        if seen > MOST:  # aliases make much of little
            raise UserError("values_invalid", f"{path} holds more than {MOST:,} values")
        if isinstance(each, dict):
            if not all(isinstance(key, str) for key in each):
                raise UserError("values_invalid", f"{path} has a key that is no text; put it in quotes")
            pending += each.values()
        elif isinstance(each, list):
            pending += each
        elif not isinstance(each, str | bool | int | float | None) or _endless(each):
            raise UserError("values_invalid", f"{path} holds something that is neither text, number, list nor mapping")


def _over(below: Values, above: Values) -> Values:
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        result[key] = _over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _endless(value: Any) -> bool:
    """Infinity, and what is no number: JSON has neither."""
    return isinstance(value, float) and not math.isfinite(value)
