"""Edits of one value in files that people wrote: images and settings, with everything else left as it is."""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from bot.core.conversation import code
from bot.core.errors import UserError
from bot.core.ports import Tree
from bot.core.safe_yaml import BrokenYaml
from bot.core.yaml_places import Document, Node, implicit, plain, read, spliced, written

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MARKER = "$imagepolicy"
MOST_FILES = 300
_SIZE_LIMIT = 1_000_000
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(r"[a-z0-9](?:[a-z0-9._:/-]*[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/-]*[A-Za-z0-9])?")
_COMMENT = re.compile(r"\s+#\s*(\{.*\})\s*\Z")
_STEP = re.compile(r"((?:[^.\\\[\]]|\\.)+)((?:\[\d+\])*)")
_PLACE = re.compile(r"\d{1,5}", re.ASCII)
_SIMPLE = re.compile(r"true|false|null|~|-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)  # what every reader takes for the same
_SHOWN = 10


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """Which image is to be another one: of `name`, what is given of its new name, tag and digest."""

    name: str
    new_name: str | None = None
    tag: str | None = None
    digest: str | None = None

    def applied_to(self, reference: str) -> str:
        """A whole reference with this wish in it."""
        repository = self.new_name or image_name(reference)
        if self.digest is not None:
            return f"{repository}@{self.digest}"
        rest = reference[len(image_name(reference)) :]
        return repository + (f":{self.tag}" if self.tag is not None else rest)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Which value is to be another one: `path` are keys and places in lists, `file` is in the environment's path."""

    path: tuple[str, ...]
    value: str
    file: str | None = None

    @property
    def shown(self) -> str:
        """The path as people write it."""
        return (f"{self.file}:" if self.file else "") + ".".join(each.replace(".", "\\.") for each in self.path)


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed in a file, in words."""

    file: str
    what: str
    old: str
    new: str


class Edits(msgspec.Struct, frozen=True, kw_only=True):
    """Files with their new content, and what is different in them. Nothing is, where all was so already."""

    files: Mapping[str, bytes]
    changes: tuple[Edited, ...]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Where an environment's edits may be made: below its path, and in the files of values that it declares."""

    root: str
    values: tuple[str, ...] = ()

    def file(self, named: str) -> str:
        """A file as somebody named it, from the repository's root; UserError path_outside for all that leaves."""
        if named in self.values:
            return named
        path = posixpath.join(self.root, named)
        if not named or named.startswith("/") or posixpath.normpath(path) != path or not self.holds(path):
            raise UserError("path_outside", f"{_quoted(named)} is not below the environment's path")
        return path

    def holds(self, path: str) -> bool:
        """Whether a file is this environment's own; nothing with a strange name is."""
        odd = not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in path.split("/"))
        below = self.root in ("", ".") or path.startswith(f"{self.root}/")
        return path in self.values or (below and not odd and not _git(path))


def parse_image(text: str) -> Image:
    """`name=tag`, `name=new/name:tag` or `name=sha256:…`; UserError usage for anything else."""
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name) or not value:
        raise UserError("usage", f"--image is written NAME=TAG, not {_quoted(text)}")
    before, at, digest = value.rpartition("@")
    if at or value.startswith("sha256:"):
        return _by_digest(name, before, digest if at else value)
    new_name, tag = value[: len(image_name(value))], value[len(image_name(value)) + 1 :]
    if "/" not in value and ":" not in value:
        new_name, tag = "", value
    if (
        (new_name and not _IMAGE.fullmatch(new_name))
        or (tag and not _TAG.fullmatch(tag))
        or not (new_name or tag)
        or value.endswith(":")
    ):
        raise UserError("usage", f"{_quoted(value)} is neither a tag nor an image")
    return Image(name=name, new_name=new_name or None, tag=tag or None)


def _by_digest(name: str, new_name: str, digest: str) -> Image:
    if not _DIGEST.fullmatch(digest) or (new_name and not _IMAGE.fullmatch(new_name)):
        raise UserError("usage", f"{_quoted(digest)} is no digest: sha256: and 64 hexadecimal digits are")
    if new_name != image_name(new_name):
        raise UserError("usage", "an image goes by a tag or by a digest, not by both")
    return Image(name=name, new_name=new_name or None, digest=digest)


def image_name(reference: str) -> str:
    """An image's name without tag and digest; a port of a registry belongs to the name."""
    name = reference.partition("@")[0]
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name


def parse_setting(text: str) -> Setting:
    """`path.to.key=value`, with `file:` before it where it is not the chart's values; UserError usage for others.

    A dot in a key is written with a backslash before it, the third of a list as `[2]`.
    """
    where, equals, value = text.partition("=")
    file, colon, path = where.rpartition(":")
    if not equals or not value.isprintable() or len(value) > 500:
        raise UserError("usage", f"--set is written PATH=VALUE, with a value of one line, not {_quoted(text)}")
    steps: list[str] = []
    at = 0
    while at < len(path) or not path:
        found = _STEP.match(path, at)
        if found is None or (found.end() < len(path) and path[found.end()] != "."):
            raise UserError("usage", f"{_quoted(path)} is no path: keys with dots between them are")
        steps.append(re.sub(r"\\(.)", r"\1", found[1]))
        steps += re.findall(r"\d+", found[2])
        at = found.end() + 1
    if at == len(path):
        raise UserError("usage", f"{_quoted(path)} ends in a dot")
    return Setting(path=tuple(steps), value=value, file=file if colon else None)


# Which files have to be read.


def wanted(tree: Tree, scope: Scope, settings: Sequence[Setting]) -> list[str]:
    """The files that edits may be made in, at a commit; UserError for a path that leads out, or to no file."""
    named = {scope.file(setting.file) for setting in settings if setting.file is not None}
    for path in sorted(named):
        _must_be_a_file(tree, path)
    found = {path for path in tree.entries if scope.holds(path) and _is_yaml(path)}
    found = {path for path in found if tree.entries[path].kind == "blob" and not tree.entries[path].is_link}
    if len(found | named) > MOST_FILES:
        raise UserError("edit_unsupported", f"there are more than {MOST_FILES} files below {_quoted(scope.root)}")
    return sorted(found | named)


def no_lookalikes(tree: Tree, paths: Iterable[str]) -> None:
    """UserError path_outside where another file's name is the same to systems that do not tell letters apart."""
    wanted = {_folded(path): path for path in paths}
    for other in tree.entries:
        path = wanted.get(_folded(other))
        if path is not None and path != other:
            raise UserError("path_outside", f"{_quoted(path)} and {_quoted(other)} are one file on some systems")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", path).casefold()


def _must_be_a_file(tree: Tree, path: str) -> None:
    entry = tree.entries.get(path)
    if entry is None:
        raise UserError("setting_missing", f"there is no file {_quoted(path)}")
    if entry.is_link or entry.kind != "blob":
        raise UserError("path_outside", f"{_quoted(path)} is a link or a folder; I write to files only")


def _is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml")) or posixpath.basename(path) in KUSTOMIZATIONS


def _git(path: str) -> bool:
    return any(part.lower() == ".git" for part in path.split("/"))


# The edits.


def edited(files: Mapping[str, bytes], scope: Scope, images: Sequence[Image], settings: Sequence[Setting]) -> Edits:
    """The files with every wish in them; UserError says which one cannot be, and why."""
    now, changes = dict(files), list[Edited]()
    for image in images:
        for path, content, change in _with_image(now, image):
            now[path] = content
            changes += change
    for setting in settings:
        path, content, change = _with_setting(now, scope, setting)
        now[path] = content
        changes += change
    return Edits(files={path: now[path] for path in now if now[path] != files[path]}, changes=tuple(changes))


Outcome = tuple[str, bytes, list[Edited]]
_Splice = tuple[int, int, str]


def _with_image(files: Mapping[str, bytes], image: Image) -> Iterator[Outcome]:
    """A kustomization's `images` overrules what manifests say, so it is looked at first; then Flux's setter markers."""
    listed = list(_kustomizations(files))
    fitting = [(path, doc, item) for path, doc in listed for item in _items(doc, path) if _says(item, image.name)]
    if len(fitting) > 1:
        raise UserError("image_ambiguous", f"{_quoted(image.name)} is in {_listed(path for path, _, _ in fitting)}")
    if fitting:
        path, doc, item = fitting[0]
        yield _kustomized(path, doc, item, image)
        return
    marks = [mark for path, doc in _marked(files) for mark in _markers(path, doc)]
    policies = _policies(marks, image.name)
    if not policies:
        known = {name for _, doc in listed for name in _names(doc)}
        known |= {image_name(mark.node.value) for mark in marks if mark.part in ("", "name")}
        there = f"there are {_listed(sorted(known))}" if known else "there is none that I could change"
        raise UserError("image_missing", f"there is no image {_quoted(image.name)} in this environment; {there}")
    yield from _set_marks([mark for mark in marks if mark.policy in policies], image)


def _kustomizations(files: Mapping[str, bytes]) -> Iterator[tuple[str, Document]]:
    for path in sorted(files):
        if posixpath.basename(path) in KUSTOMIZATIONS and b"images" in files[path]:
            yield path, _read(path, files[path])


def _items(doc: Document, path: str) -> list[Node]:
    """The entries of a kustomization's `images`."""
    root = doc.root
    images = root.get("images") if root is not None and root.kind == "mapping" else None
    if images is None or (images.kind == "scalar" and implicit(images.value) == "null"):
        return []
    assert root is not None
    for node in (root, images, *images.items):
        if node.kind == "alias" or node.bound or node.style == "flow":
            raise _unsupported(path, node.line, "written in flow style, or with anchors")
    if images.kind != "sequence":
        raise _unsupported(path, images.line, "no list of images")
    return [item for item in images.items if item.kind == "mapping"]


def _names(doc: Document) -> set[str]:
    root = doc.root
    images = root.get("images") if root is not None and root.kind == "mapping" else None
    items = images.items if images is not None and images.kind == "sequence" else ()
    found = [item.get("name") for item in items if item.kind == "mapping"]
    return {name.value for name in found if name is not None}


def _says(item: Node, name: str) -> bool:
    found = item.get("name")
    return found is not None and found.kind == "scalar" and found.value == name


def _kustomized(path: str, doc: Document, item: Node, image: Image) -> Outcome:
    """An entry of `images` with the wish in it. A digest overrules a tag there, so one takes the other's place."""
    now, changes = (path, doc.encoded(doc.text)), list[Edited]()
    wishes = [("newName", image.new_name, ""), ("newTag", image.tag, "digest"), ("digest", image.digest, "newTag")]
    for key, value, other in wishes:
        if value is not None:
            doc = _read(*now)
            (item,) = (each for each in _items(doc, path) if _says(each, image.name))
            content, change = _put(path, doc, item, key, value, other)
            now = (path, content)
            changes += change
    return path, now[1], changes


def _put(path: str, doc: Document, item: Node, key: str, value: str, other: str) -> tuple[bytes, list[Edited]]:
    """One key of an entry: its value replaced, or in the place of the other key, or on a line of its own."""
    own, instead = item.get(key), item.get(other) if other else None
    if own is not None and instead is not None:
        raise _unsupported(path, item.line, f"an image with both {key} and {other}")
    if own is not None:
        return _replaced_all(path, doc, [(own, value, "str")])[1:]
    if instead is not None:
        name = item.key(other)
        assert name is not None
        _must_be_simple(path, name)
        _must_be_simple(path, instead)
        made = _first_good(doc, written(value, instead.style, "str"), lambda way: _renamed(name, key, instead, way))
        return _checked(path, made), [Edited(file=path, what=key, old=f"{other} {instead.value}", new=value)]
    return _inserted(path, doc, item, key, value)


def _renamed(name: Node, key: str, old: Node, way: str) -> tuple[list[_Splice], dict[int, tuple[str, str]]]:
    splices = [(name.start, name.end, key), (old.start, old.end, way)]
    return splices, {name.start: (key, "str"), old.start: (_unread(way), "str")}


def _inserted(path: str, doc: Document, item: Node, key: str, value: str) -> tuple[bytes, list[Edited]]:
    """A line below the entry's name, with its indentation and its line end."""
    first, name = item.items[0], item.get("name")
    assert name is not None
    _must_be_simple(path, name)
    begin = max(doc.text.rfind("\n", 0, first.start), doc.text.rfind("\r", 0, first.start)) + 1
    end = name.end + len(doc.rest_of_line(name))
    brk = next((each for each in ("\r\n", "\n", "\r") if doc.text.startswith(each, end)), _line_end(doc.text))
    for way in written(value, "plain", "str"):
        line = f"{brk}{' ' * (first.start - begin)}{key}: {way}"
        text = spliced(doc.text, [(end, end, line)])
        if _gained(doc, text, key, value):
            return doc.encoded(text), [Edited(file=path, what=key, old="", new=value)]
    raise _unsupported(path, item.line, "where nothing can be put in")


def _gained(doc: Document, text: str, key: str, value: str) -> bool:
    """Whether the new text says the same, but for one pair more."""
    try:
        new = read(text.encode())
    except BrokenYaml:
        return False
    was, now = _flat(plain(doc.root, doc.text)), _flat(plain(new.root, text))
    pair = [("scalar", key, "str", False), ("scalar", value, "str", False)]
    places = [at for at in range(len(now)) if now[at : at + 2] == pair]
    return any(now[:at] + now[at + 2 :] == was for at in places)


def _flat(shown: object) -> list[object]:
    """All that a file says in a row, with where collections begin and end."""
    if isinstance(shown, tuple) and shown and shown[0] in ("mapping", "sequence"):
        inner = [each for item in shown[1] for each in _flat(item)]
        return [(shown[0], shown[2]), *inner, "end"]
    return [shown]


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# Flux's setter markers: a comment behind a value says which policy sets it.


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a policy sets: all of an image (""), or its name, tag or digest."""

    path: str
    doc: Document
    node: Node
    policy: str
    part: str


def _marked(files: Mapping[str, bytes]) -> Iterator[tuple[str, Document]]:
    for path in sorted(files):
        if MARKER.encode() in files[path]:
            yield path, _read(path, files[path])


def _markers(path: str, doc: Document) -> Iterator[_Mark]:
    for node in _scalars(doc.root):
        comment = _COMMENT.match(doc.rest_of_line(node))
        if comment is None or MARKER not in comment[1]:
            continue
        try:
            told = msgspec.json.decode(comment[1], type=dict[str, str]).get(MARKER, "").split(":")
        except msgspec.DecodeError:
            continue
        if len(told) in (2, 3):
            part = told[2] if len(told) == 3 else ""
            yield _Mark(path=path, doc=doc, node=node, policy=":".join(told[:2]), part=part)


def _scalars(node: Node | None) -> Iterator[Node]:
    if node is None:
        return
    if node.kind == "scalar":
        yield node
    values = [value for _, value in node.pairs()] if node.kind == "mapping" else node.items
    for each in values:
        yield from _scalars(each)


def _policies(marks: Sequence[_Mark], name: str) -> set[str]:
    """The policies that a name means: by their own name, or by that of an image that they set."""
    named = {mark.policy for mark in marks if mark.part in ("", "name") and image_name(mark.node.value) == name}
    return named | {mark.policy for mark in marks if mark.policy == name}


def _set_marks(marks: Sequence[_Mark], image: Image) -> Iterator[Outcome]:
    """Every value that the policy sets, in all files."""
    wished = [(mark, _wished(mark, image)) for mark in marks]
    if all(value is None for _, value in wished):
        what = "digest" if image.digest is not None else "tag" if image.tag is not None else "name"
        raise _unsupported(marks[0].path, marks[0].node.line, f"no marker for the {what}")
    for path in dict.fromkeys(mark.path for mark in marks):
        here = [(mark, value) for mark, value in wished if mark.path == path and value is not None]
        if here:
            yield _replaced_all(path, here[0][0].doc, [(mark.node, value, "str") for mark, value in here])


def _wished(mark: _Mark, image: Image) -> str | None:
    if mark.part == "":
        return image.applied_to(mark.node.value)
    parts = {"name": image.new_name, "tag": image.tag, "digest": image.digest}
    if mark.part not in parts:
        raise _unsupported(mark.path, mark.node.line, f"a marker for {mark.part}")
    return parts[mark.part]


# Settings.


def _with_setting(files: Mapping[str, bytes], scope: Scope, setting: Setting) -> Outcome:
    found = _settable(files, scope, setting)
    if not found:
        raise UserError("setting_missing", f"nothing is at {_quoted(setting.shown)}; I change values, and add none")
    if len(found) > 1:
        where = _listed(path for path, _, _ in found)
        raise UserError("setting_ambiguous", f"{_quoted(setting.shown)} is in {where}; say in which: FILE:PATH=VALUE")
    path, doc, node = found[0]
    typed = node.kind == "scalar" and _type(node) != "str" and _SIMPLE.fullmatch(setting.value) is not None
    return _replaced_all(path, doc, [(node, setting.value, implicit(setting.value) if typed else "str")])


def _settable(files: Mapping[str, bytes], scope: Scope, setting: Setting) -> list[tuple[str, Document, Node]]:
    """Where a setting may be meant: the named file; the last file of values that has it; a HelmRelease's own values."""
    if setting.file is not None:
        return _at([(scope.file(setting.file), ())], files, setting.path)
    if scope.values:
        return _at([(path, ()) for path in scope.values if path in files], files, setting.path)[-1:]
    releases = [path for path in sorted(files) if b"HelmRelease" in files[path] and not _is_kustomization(path)]
    return _at([(path, ("spec", "values")) for path in releases], files, setting.path, kind="HelmRelease")


def _at(
    places: Sequence[tuple[str, tuple[str, ...]]], files: Mapping[str, bytes], way: Sequence[str], kind: str = ""
) -> list[tuple[str, Document, Node]]:
    found = []
    for path, before in places:
        doc = _read(path, files[path])
        of_kind = not kind or (doc.root is not None and doc.root.kind == "mapping" and _kind(doc.root) == kind)
        node = _walk(path, doc.root, (*before, *way)) if of_kind else None
        if node is not None:
            found.append((path, doc, node))
    return found


def _kind(root: Node) -> str:
    found = root.get("kind")
    return found.value if found is not None else ""


def _walk(path: str, node: Node | None, way: Sequence[str]) -> Node | None:
    for step in way:
        if node is None:
            return None
        if node.kind == "alias" or node.bound or node.style == "flow":
            raise _unsupported(path, node.line, "written in flow style, or with anchors")
        if node.kind == "mapping":
            node = node.get(step)
        elif node.kind == "sequence" and _PLACE.fullmatch(step):
            node = node.items[int(step)] if int(step) < len(node.items) else None
        else:
            return None
    return node


def _is_kustomization(path: str) -> bool:
    return posixpath.basename(path) in KUSTOMIZATIONS


# Replacing.


def _replaced_all(path: str, doc: Document, places: Sequence[tuple[Node, str, str]]) -> Outcome:
    """The file with (node, value, type) put in, each written so that it is read as meant, and nothing else differs."""
    text, changes = doc.text, list[Edited]()
    for node, value, type in sorted(places, key=lambda place: -place[0].start):
        _must_be_simple(path, node)
        if (node.value, _type(node)) == (value, type):
            continue
        here = Document(text=text, root=read(text.encode()).root, mark=doc.mark)
        ways = written(value, node.style, type)
        made = _first_good(here, ways, partial(_one, node, value, type))
        text = _checked(path, made).decode().removeprefix(doc.mark)
        changes.append(Edited(file=path, what=f"line {node.line}", old=node.value, new=value))
    return path, doc.encoded(text), changes[::-1]


def _one(node: Node, value: str, type: str, way: str) -> tuple[list[_Splice], dict[int, tuple[str, str]]]:
    blank = " " if node.start == node.end else ""  # nothing stood there, so the colon needs one behind it
    return [(node.start, node.end, blank + way)], {node.start: (value, type)}


_Try = Callable[[str], tuple[list[_Splice], dict[int, tuple[str, str]]]]


def _first_good(doc: Document, ways: Sequence[str], attempt: _Try) -> bytes | None:
    """The file by the first way of writing after which exactly the wished scalars are other ones; None for none."""
    for way in ways:
        splices, wished = attempt(way)
        text = spliced(doc.text, splices)
        try:
            new = read(text.encode())
        except BrokenYaml:
            continue
        if plain(new.root, text) == _expected(doc.root, doc.text, wished):
            return doc.encoded(text)
    return None


def _expected(node: Node | None, text: str, wished: Mapping[int, tuple[str, str]]) -> object:
    """What the file must say afterwards: all as before, but for the scalars that begin at these places."""
    if node is None:
        return None
    if node.kind == "scalar" and node.start in wished:
        return ("scalar", *wished[node.start], node.bound)
    if node.kind in ("mapping", "sequence"):
        return (node.kind, tuple(_expected(each, text, wished) for each in node.items), node.bound)
    return plain(node, text)


def _checked(path: str, made: bytes | None) -> bytes:
    if made is None:
        raise UserError("edit_unsupported", f"the value cannot be written into {_quoted(path)} without changing more")
    return made


def _must_be_simple(path: str, node: Node) -> None:
    if node.kind != "scalar":
        raise _unsupported(path, node.line, "not a single value")
    if node.bound:
        raise _unsupported(path, node.line, "a value with an anchor or a tag")
    if node.style == "block" or "\n" in node.value:
        raise _unsupported(path, node.line, "a value of several lines")


def _type(node: Node) -> str:
    return implicit(node.value) if node.style == "plain" else "str"


def _unread(way: str) -> str:
    """What a way of writing means."""
    found = read(way.encode()).root
    return found.value if found is not None else ""


def _read(path: str, content: bytes) -> Document:
    if len(content) > _SIZE_LIMIT:
        raise UserError("edit_unsupported", f"{_quoted(path)} is too large")
    try:
        return read(content)
    except BrokenYaml as error:
        where = f"{_quoted(path)} at line {error.line}"
        raise UserError("edit_unsupported", f"I cannot change {where}: {error}") from error


def _unsupported(path: str, line: int, what: str) -> UserError:
    return UserError("edit_unsupported", f"{_quoted(path)} has {what} at line {line}: I do not change such")


def _listed(names: Iterable[str]) -> str:
    found = [_quoted(each) for each in names]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _quoted(text: str) -> str:
    return code(text, 120)
