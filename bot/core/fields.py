"""Kinds of fields in a YAML file: each reads its node, refuses by line and column what is wrong, has a schema."""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, NoReturn, Protocol

import msgspec
import yaml

from bot.core.comments import nearest
from bot.core.errors import UserError
from bot.core.safe_yaml import NESTING_LIMIT, BrokenYaml, compose

Schema = dict[str, Any]
VALUE_LIMIT = 20_000  # nodes that are taken as they are; aliases count each time
_LARGEST = 2**53  # what JSON's numbers hold exactly


class Reader:
    """One file that is read: where each field stands, and how its errors are told."""

    def __init__(self, file: str, code: str) -> None:
        self.file, self.code = file, code
        self.marks: dict[str, yaml.Node] = {}
        self.values = 0

    def read(self, content: bytes, kind: "Kind") -> Any:
        """The whole file as `kind` has it."""
        try:
            node = compose(content)
        except BrokenYaml as error:
            self._fail(error.line, error.column, str(error), error)
        if node is None:
            self._fail(1, 1, "the file is empty; it must say at least `version: 1`")
        return self.take(kind, node, "")

    def take(self, kind: "Kind", node: yaml.Node, path: str) -> Any:
        """One field."""
        self.marks.setdefault(path, node)
        return kind.read(self, node, path)

    def refuse(self, node: yaml.Node, path: str, problem: str) -> NoReturn:
        """What is wrong with the field at `path`, and where it stands."""
        mark = node.start_mark
        self._fail(mark.line + 1, mark.column + 1, f"{path or 'the file'} {problem}")

    def refuse_at(self, path: str, problem: str) -> NoReturn:
        """The same for a field that was read before; for one that was left out, where it would stand."""
        at = path
        while at not in self.marks:
            at = at.rpartition(".")[0]
        self.refuse(self.marks[at], path, problem)

    def _fail(self, line: int, column: int, problem: str, cause: Exception | None = None) -> NoReturn:
        raise UserError(self.code, f"{self.file} line {line}, column {column}: {problem}") from cause


class Kind(Protocol):
    """What a field may hold."""

    def read(self, reader: Reader, node: yaml.Node, path: str) -> Any:
        """The value, or UserError."""

    def schema(self) -> Schema:
        """The same as JSON Schema; what only the parser knows is left out."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A text: what it must match in order, each with what to say if it does not, and a last check."""

    rules: tuple[tuple[str, str], ...] = ()
    shortest: int = 1
    longest: int = 253
    length: str = "must be {0} to {1} characters long"
    check: Callable[[str], str | None] | None = None

    def read(self, reader: Reader, node: yaml.Node, path: str) -> str:
        """A scalar that is written as text."""
        if not isinstance(node, yaml.ScalarNode):
            reader.refuse(node, path, "must be text")
        if _tag(node) != "str":
            shown_value = shown(node.value) or "it"
            reader.refuse(node, path, f"must be text; put {shown_value} into quotes" if node.value else "must be text")
        problem = self.problem(str(node.value))
        if problem:
            reader.refuse(node, path, problem)
        return str(node.value)

    def problem(self, value: str) -> str | None:
        """What is wrong with a text."""
        if not self.shortest <= len(value) <= self.longest:
            return self.length.format(self.shortest, self.longest)
        for pattern, problem in self.rules:
            if _compiled(pattern).search(value) is None:
                return problem
        return self.check(value) if self.check else None

    def schema(self) -> Schema:
        """Its length and patterns."""
        schema: Schema = {"type": "string", "minLength": self.shortest, "maxLength": self.longest}
        patterns = [pattern for pattern, _ in self.rules]
        if len(patterns) == 1:
            schema["pattern"] = patterns[0]
        elif patterns:
            schema["allOf"] = [{"pattern": pattern} for pattern in patterns]
        return schema


class Flag(msgspec.Struct, frozen=True):
    """true or false."""

    def read(self, reader: Reader, node: yaml.Node, path: str) -> bool:
        """A boolean, as YAML 1.1 writes it."""
        if not isinstance(node, yaml.ScalarNode) or _tag(node) != "bool":
            reader.refuse(node, path, "must be true or false")
        return node.value.lower() in ("true", "yes", "on")

    def schema(self) -> Schema:
        """A boolean."""
        return {"type": "boolean"}


class Whole(msgspec.Struct, frozen=True):
    """A whole number between two others."""

    low: int
    high: int

    def read(self, reader: Reader, node: yaml.Node, path: str) -> int:
        """A decimal number."""
        plain = isinstance(node, yaml.ScalarNode) and _tag(node) == "int" and re.fullmatch("[0-9]{1,9}", node.value)
        if not plain or not self.low <= int(node.value) <= self.high:
            only = f"must be {self.low}" if self.low == self.high else None
            reader.refuse(node, path, only or f"must be a whole number from {self.low} to {self.high}")
        return int(node.value)

    def schema(self) -> Schema:
        """An integer."""
        if self.low == self.high:
            return {"const": self.low}
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class OneOf(msgspec.Struct, frozen=True):
    """One of some words."""

    words: tuple[str, ...]

    def read(self, reader: Reader, node: yaml.Node, path: str) -> str:
        """The word; the nearest one is named if it is none of them."""
        value = Text(shortest=0, longest=1_000).read(reader, node, path)
        if value not in self.words:
            reader.refuse(node, path, f"cannot be `{shown(value)}`; {_instead(value, self.words)}")
        return value

    def schema(self) -> Schema:
        """An enumeration."""
        return {"enum": list(self.words)}


class Many(msgspec.Struct, frozen=True):
    """A list, each entry once; with `or_one` a single entry may stand there without a list."""

    kind: Kind
    most: int = 50
    or_one: bool = False

    def read(self, reader: Reader, node: yaml.Node, path: str) -> tuple[Any, ...]:
        """The entries in their order."""
        if self.or_one and isinstance(node, yaml.ScalarNode):
            return (self.kind.read(reader, node, path),)
        if not isinstance(node, yaml.SequenceNode):
            reader.refuse(node, path, "must be a list")
        found: list[Any] = []
        for number, inner in enumerate(node.value):
            here = f"{path}[{number}]"
            if number == self.most:
                reader.refuse(inner, here, f"is one too many; there may be {self.most}")
            value = reader.take(self.kind, inner, here)
            if value in found:
                reader.refuse(inner, here, "is there twice")
            found.append(value)
        return tuple(found)

    def schema(self) -> Schema:
        """An array."""
        array = {"type": "array", "items": self.kind.schema(), "maxItems": self.most, "uniqueItems": True}
        return {"anyOf": [self.kind.schema(), array]} if self.or_one else array


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field by its kind, with what editors and the docs say of it."""

    kind: Kind
    doc: str
    default: str = ""  # as it is written in YAML, or in words
    example: str = ""  # as it is written in YAML
    required: bool = False


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping with known fields. `refused` says why some others are not allowed; `together` which exclude others."""

    fields: Mapping[str, Field]
    refused: Mapping[str, str] = {}
    one_of: tuple[str, ...] = ()
    may_be_empty: bool = False  # nothing after the colon

    def read(self, reader: Reader, node: yaml.Node, path: str) -> dict[str, Any]:
        """The fields that are there."""
        if self.may_be_empty and isinstance(node, yaml.ScalarNode) and _tag(node) == "null":
            return {}
        found: dict[str, Any] = {}
        for name, key, value in pairs(reader, node, path):
            self._check(reader, name, key, joined(path, name))
            self._check_alone(reader, name, key, joined(path, name), found)
            found[name] = reader.take(self.fields[name].kind, value, joined(path, name))
        for name, field in self.fields.items():
            if field.required and name not in found:
                example = f"; for example `{name}: {field.example}`" if field.example else ""
                reader.refuse(node, joined(path, name), f"is missing{example}")
        return found

    def _check(self, reader: Reader, name: str, key: yaml.Node, path: str) -> None:
        if name in self.refused:
            reader.refuse(key, path, self.refused[name])
        if name not in self.fields:
            reader.refuse(key, path, f"is not known here; {_instead(name, self.fields)}")

    def _check_alone(self, reader: Reader, name: str, key: yaml.Node, path: str, found: Collection[str]) -> None:
        others = [other for other in self.one_of if other in found]
        if name in self.one_of and others:
            reader.refuse(key, path, f"cannot stand beside `{others[0]}`: one of them decides how it is applied")

    def schema(self) -> Schema:
        """An object without other properties."""
        properties = {name: described(field) for name, field in self.fields.items()}
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
        required = [name for name, field in self.fields.items() if field.required]
        if required:
            schema["required"] = required
        if self.one_of:
            pairs_ = [(a, b) for i, a in enumerate(self.one_of) for b in self.one_of[i + 1 :]]
            schema["allOf"] = [{"not": {"type": "object", "required": list(pair)}} for pair in pairs_]
        if self.may_be_empty:
            schema["type"] = ["object", "null"]
        return schema


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping from names to things of one kind."""

    name: Text
    kind: Kind
    noun: str
    most: int = 50
    least: int = 1

    def read(self, reader: Reader, node: yaml.Node, path: str) -> dict[str, Any]:
        """The things by their names."""
        found: dict[str, Any] = {}
        for name, key, value in pairs(reader, node, path):
            problem = self.name.problem(name)
            if problem:
                reader.refuse(key, joined(path, name), f"is no good name: it {problem}")
            if len(found) == self.most:
                reader.refuse(key, joined(path, name), f"is one too many; there may be {self.most} {self.noun}s")
            found[name] = reader.take(self.kind, value, joined(path, name))
        if len(found) < self.least:
            reader.refuse(node, path, f"must name at least one {self.noun}")
        return found

    def schema(self) -> Schema:
        """An object whose properties are all alike."""
        return {
            "type": "object",
            "minProperties": self.least,
            "maxProperties": self.most,
            "propertyNames": {key: value for key, value in self.name.schema().items() if key != "type"},
            "additionalProperties": self.kind.schema(),
        }


class Either(msgspec.Struct, frozen=True):
    """A text or a mapping."""

    text: Kind
    mapping: Kind

    def read(self, reader: Reader, node: yaml.Node, path: str) -> Any:
        """Whichever is written."""
        kind = self.mapping if isinstance(node, yaml.MappingNode) else self.text
        return kind.read(reader, node, path)

    def schema(self) -> Schema:
        """Any of both."""
        return {"anyOf": [self.text.schema(), self.mapping.schema()]}


class Shared(msgspec.Struct, frozen=True):
    """A kind that the schema defines once, by name."""

    name: str
    kind: Kind

    def read(self, reader: Reader, node: yaml.Node, path: str) -> Any:
        """As the kind itself."""
        return self.kind.read(reader, node, path)

    def schema(self) -> Schema:
        """A reference to its definition."""
        return {"$ref": f"#/$defs/{self.name}"}


class Value(msgspec.Struct, frozen=True):
    """Whatever JSON can say, taken as it is, for somebody else to understand; `type` is its JSON type."""

    type: str = ""
    check: Callable[[Any], str | None] | None = None

    def read(self, reader: Reader, node: yaml.Node, path: str) -> Any:
        """The value."""
        value = _value(reader, node, path, 0)
        found = _json_type(value)
        if self.type and found != self.type:
            reader.refuse(node, path, f"must be {_ARTICLES[self.type]}, not {_ARTICLES[found]}")
        problem = self.check(value) if self.check else None
        if problem:
            reader.refuse(node, path, problem)
        return value

    def schema(self) -> Schema:
        """Its type."""
        return {"type": self.type} if self.type else {}


_ARTICLES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "number": "a number",
    "null": "empty",
}


def described(field: Field) -> Schema:
    """A field's schema with what editors show of it."""
    description = f"{field.doc}." + (f" Default: {field.default}." if field.default else "")
    schema = {"description": description, **field.kind.schema()}
    if field.example:
        schema["examples"] = [yaml.safe_load(field.example)]
    return schema


def pairs(reader: Reader, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """The names, keys and values of a mapping; a key that is there twice is an error."""
    if not isinstance(node, yaml.MappingNode):
        reader.refuse(node, path, "must be a mapping (key: value)")
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or _tag(key) != "str":
            reader.refuse(key, path, "has a key that is no text")
        if key.value in seen:
            reader.refuse(key, joined(path, key.value), "is there twice")
        seen.add(key.value)
        yield key.value, key, value


def joined(path: str, key: str) -> str:
    """A field's path below another's."""
    return f"{path}.{shown(key)}" if path else shown(key)


def shown(text: str) -> str:
    """A key or value of the file as it may stand in one line of a message."""
    clean = "".join(character if character.isprintable() and character != "`" else "�" for character in text)
    return clean if len(clean) <= 60 else clean[:59] + "…"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """In JSON Schema `$` is the very end; Python's would let a newline follow."""
    return re.compile(pattern.replace("$", r"\Z"), re.ASCII)


def _instead(word: str, known: Collection[str]) -> str:
    near = nearest(shown(word).lower(), known) or next((each for each in known if each.lower() == word.lower()), None)
    return f"did you mean `{near}`?" if near else f"known are {', '.join(known)}"


def _tag(node: yaml.Node) -> str:
    return str(node.tag).rpartition(":")[2]


def _value(reader: Reader, node: yaml.Node, path: str, depth: int) -> Any:
    reader.values += 1
    if reader.values > VALUE_LIMIT or depth > NESTING_LIMIT:
        reader.refuse(node, path, "holds too much (aliases count each time they are used)")
    if isinstance(node, yaml.MappingNode):
        return {
            name: _value(reader, inner, joined(path, name), depth + 1) for name, _, inner in pairs(reader, node, path)
        }
    if isinstance(node, yaml.SequenceNode):
        return [_value(reader, inner, f"{path}[{number}]", depth + 1) for number, inner in enumerate(node.value)]
    return _plain(reader, node, path)


def _plain(reader: Reader, node: yaml.Node, path: str) -> Any:
    tag, text = _tag(node), str(node.value)
    if tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("true", "yes", "on")
    if tag in ("int", "float") and len(text) <= 40:
        number = _number(text)
        if number is not None:
            return number
    return reader.refuse(node, path, f"holds a value that JSON has not; put {shown(text)} into quotes")


def _number(text: str) -> int | float | None:
    """A number as JSON writes it, too; not the others of YAML (1_000, 0x1f, 12:30, .inf)."""
    if not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text, re.ASCII):
        return None
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", text, re.ASCII):
        return int(text) if abs(int(text)) <= _LARGEST else None
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        return None  # octal to one reader, decimal to another
    return float(text) if math.isfinite(float(text)) else None


def _json_type(value: Any) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "boolean"),
        (dict, "object"),
        (list, "array"),
        (str, "string"),
        ((int, float), "number"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
