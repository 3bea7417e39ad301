"""Where things stand in a YAML file: its nodes with positions, so that one can be replaced without moving the rest."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import yaml

from bot.core.safe_yaml import BrokenYaml, compose

STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "block", ">": "block"}
BOM = "\ufeff"
NUMERIC = re.compile(
    r"[-+]?(0[xob])?[0-9a-f_]*\.?[0-9_]*(e[-+]?[0-9]+)?|[-+]?\.(inf|nan)|[0-9:_.]+:[0-9:_.]+", re.IGNORECASE
)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a file: a scalar, a mapping (`items` are keys and values by turns), a sequence or an alias.

    `start` and `end` count characters of the text; `bound` is what ties it to others or to a type: an anchor, a tag.
    """

    kind: str  # scalar | mapping | sequence | alias
    start: int
    end: int
    line: int  # from 1
    value: str = ""
    style: str = "plain"  # plain | single | double | block; of collections block | flow
    bound: bool = False
    items: tuple["Node", ...] = ()

    def pairs(self) -> Iterator[tuple["Node", "Node"]]:
        """A mapping's keys with their values."""
        yield from zip(self.items[::2], self.items[1::2], strict=True)

    def get(self, key: str) -> "Node | None":
        """What a mapping has under a key."""
        return next((value for name, value in self.pairs() if name.kind == "scalar" and name.value == key), None)

    def key(self, key: str) -> "Node | None":
        """The key itself."""
        return next((name for name, _ in self.pairs() if name.kind == "scalar" and name.value == key), None)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A file of one document. `mark` is the byte order mark, which stays where it is."""

    text: str
    root: Node | None
    mark: str = ""

    def encoded(self, text: str) -> bytes:
        """The bytes of the file with another text."""
        return (self.mark + text).encode()

    def rest_of_line(self, node: Node) -> str:
        """What stands behind a node on its line."""
        end = min((at for at in (self.text.find(brk, node.end) for brk in "\r\n") if at >= 0), default=len(self.text))
        return self.text[node.end : end]


def read(content: bytes) -> Document:
    """The file as nodes with positions; BrokenYaml for all that is hostile, and for more than one document."""
    compose(content)  # refuses what must not be read at all
    text = content.decode()
    mark = BOM if text.startswith(BOM) else ""
    text = text.removeprefix(BOM)
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    root = None
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            root = _node(event, events)
    return Document(text=text, root=root, mark=mark)


def plain(node: Node | None, text: str) -> Any:
    """What a file says, as data with the types that a reader would see; equal files are equal here."""
    if node is None:
        return None
    return _Shown(text).of(node)


class _Shown:
    """Each scalar with how it is typed; an alias by what it repeats."""

    def __init__(self, text: str) -> None:
        self.text = text

    def of(self, node: Node) -> Any:
        if node.kind == "scalar":
            return ("scalar", node.value, _tag(node), node.bound)
        if node.kind == "alias":
            return ("alias", self.text[node.start : node.end])
        return (node.kind, tuple(self.of(each) for each in node.items), node.bound)


def _tag(node: Node) -> str:
    return implicit(node.value) if node.style == "plain" else "str"


def implicit(value: str) -> str:
    """The type of a plain scalar: str, int, float, bool, null, or another of YAML's."""
    resolver = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in resolver.get(value[:1], []):
        if pattern.match(value):
            return str(tag.rpartition(":")[2])
    return "str"


def written(value: str, style: str, type: str) -> list[str]:
    """Ways to write a scalar on one line so that it is read as `value` of that type: the old style first."""
    if type != "str":
        return [value]
    single, double = "'" + value.replace("'", "''") + "'", _double(value)
    ways = [double, single] if style == "double" else [single, double]
    return [value, *ways] if style == "plain" and not _doubtful(value) else ways


def _double(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped + '"'


def _doubtful(value: str) -> bool:
    """Whether some reader of YAML would take this text for something else: 12e4567 is a number to Go, not to Python."""
    if value.lower() in ("", "~", "y", "n", "yes", "no", "on", "off", "true", "false", "null"):
        return True
    return implicit(value) != "str" or NUMERIC.fullmatch(value) is not None


def spliced(text: str, changes: Sequence[tuple[int, int, str]]) -> str:
    """The text with each (start, end, new) put in; everything else stays as it is."""
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _node(event: Any, events: Iterator[Any]) -> Node:
    start, end = event.start_mark, event.end_mark
    place: dict[str, Any] = {"start": start.index, "end": end.index, "line": start.line + 1}
    if isinstance(event, yaml.AliasEvent):
        return Node(kind="alias", **place)
    bound = event.anchor is not None or event.tag is not None
    if isinstance(event, yaml.ScalarEvent):
        return Node(kind="scalar", value=event.value, style=STYLES[event.style], bound=bound, **place)
    kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
    items: list[Node] = []
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            place["end"] = cast(Any, inner).end_mark.index
            break
        items.append(_node(inner, events))
    return Node(kind=kind, style="flow" if event.flow_style else "block", bound=bound, items=tuple(items), **place)


__all__ = ["BrokenYaml", "Document", "Node", "implicit", "plain", "read", "spliced", "written"]
