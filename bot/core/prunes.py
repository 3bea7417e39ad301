"""Which volumes, namespaces and definitions go when an environment goes from one commit to another, without rendering.

Only what is built counts: a file that lies in a folder and is named by no kustomization is applied by nobody. Files
that are the same at both commits, and are named alike, make the same objects; so only the others are read.
"""

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from bot.core.inputs import FILE_LIMIT, below, kustomizations_by_folder
from bot.core.inventory import Entry
from bot.core.ports import Tree
from bot.core.safe_yaml import BrokenYaml, compose_all

VOLUME, CLAIM, NAMESPACE = "PersistentVolume", "PersistentVolumeClaim", "Namespace"
DEFINITION = "CustomResourceDefinition"
KINDS = frozenset({VOLUME, CLAIM, NAMESPACE, DEFINITION})
READ_LIMIT = 200  # files that differ, of one commit
KEEP, KEPT = "kustomize.toolkit.fluxcd.io/prune", "disabled"  # Flux leaves such an object where it is

_BUILT = ("resources", "bases", "components")
_NOT_SEEN = {"helmCharts": "Helm charts", "generators": "generators", "transformers": "transformers"}
_NOT_PREFIXED = frozenset({NAMESPACE, DEFINITION})
_YAML = (".yaml", ".yml")


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """What the kustomizations above a file make of its objects' names; `kept`: they have Flux prune none of them."""

    prefix: str = ""
    suffix: str = ""
    namespace: str = ""
    kept: bool = False


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is built, or with `patch` one that changes what is built; `text`: it stands in a kustomization."""

    oid: str
    naming: Naming
    path: str
    patch: bool = False
    text: str = ""


class Parts(msgspec.Struct, frozen=True):
    """All that an environment is built of at a commit, and what cannot be told of it, in words.

    Not `whole`: so little is known that it is compared with nothing.
    """

    parts: frozenset[Part] = frozenset()
    unseen: frozenset[str] = frozenset()
    whole: bool = True


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What goes, as people name it, sorted; and why more may go than that."""

    names: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class Building:
    """Follows the kustomizations of an environment to the files that are built: feed it until it wants nothing."""

    def __init__(self, tree: Tree, path: str, naming: Naming, components: Sequence[str] = ()) -> None:
        self.tree = tree
        self.path = posixpath.normpath("/" + path).lstrip("/")
        self.wanted: set[str] = set()
        self._naming, self._components = naming, components
        self._folders = kustomizations_by_folder(tree)
        self._fields: dict[str, Mapping[str, Any] | None] = {}  # by file; None: it cannot be read
        self._visited = 0
        self._parts: set[Part] = set()
        self._unseen: set[str] = set()
        self._walk()

    @property
    def result(self) -> Parts:
        """What was found; only once nothing is wanted any more."""
        if self.wanted:
            raise ValueError(f"not everything was read: {sorted(self.wanted)[:3]}")
        return Parts(frozenset(self._parts), frozenset(self._unseen), not self.tree.truncated)

    def feed(self, path: str, content: bytes) -> None:
        """Takes the content of a kustomization that was wanted."""
        self.wanted.discard(path)
        self._fields[path] = _fields(content)
        if not self.wanted:
            self._walk()

    def _walk(self) -> None:
        """From the environment's folder down, as far as the kustomizations are known."""
        self._parts.clear()
        self._unseen.clear()
        self._visited = 0
        if self.tree.truncated:
            self._unseen.add("the forge did not list every file of the repository")
            return
        if self.path in self._folders:
            self._folder(self.path, self._naming, ())
        else:
            self._all_below()
        for component in self._components:
            self._reference(self.path, component, self._naming, ())

    def _all_below(self) -> None:
        """Without a kustomization of its own Flux takes all that lies below, with the kustomizations there."""
        inside = [folder for folder in self._folders if below(folder, self.path)]
        tops = [folder for folder in inside if not any(below(folder, other) for other in inside if other != folder)]
        for folder in tops:
            self._folder(folder, self._naming, ())
        for path, entry in self.tree.entries.items():
            loose = entry.kind == "blob" and path.endswith(_YAML) and below(path, self.path)
            if loose and not any(below(path, folder) for folder in tops):
                self._parts.add(Part(oid=entry.oid, naming=self._naming, path=path))

    def _folder(self, folder: str, naming: Naming, above: tuple[str, ...]) -> None:
        self._visited += 1
        if folder in above or self._visited > FILE_LIMIT:
            self._unseen.add(f"{folder or 'the root'} is built of itself, or of too much")
            return
        for file in self._folders.get(folder, ()):
            if file not in self._fields:
                self.wanted.add(file)
            elif (fields := self._fields[file]) is None:
                self._unseen.add(f"{file} cannot be read")
            else:
                self._kustomization(folder, file, fields, naming, (*above, folder))

    def _kustomization(
        self, folder: str, file: str, fields: Mapping[str, Any], naming: Naming, above: tuple[str, ...]
    ) -> None:
        inner = _inner(naming, fields)
        for key in _BUILT:
            for text in _texts(fields.get(key)):
                self._reference(folder, text, inner, above)
        for text in _patches(fields):
            self._patch(folder, text, inner)
        self._unseen |= {f"{file} uses {what}" for key, what in _NOT_SEEN.items() if fields.get(key)}

    def _reference(self, folder: str, text: str, naming: Naming, above: tuple[str, ...]) -> None:
        path = _path(folder, text)
        entry = self.tree.entries.get(path) if path else None
        if "://" not in text and (path == "" or (entry is not None and entry.kind == "tree")):
            self._folder(path, naming, above)
        elif entry is not None and entry.kind == "blob":
            self._parts.add(Part(oid=entry.oid, naming=naming, path=path))
        else:
            self._unseen.add(f"{text[:80]} is not a file of the repository")

    def _patch(self, folder: str, text: str, naming: Naming) -> None:
        if "\n" in text:
            self._parts.add(Part(oid="", naming=naming, path=folder, patch=True, text=text))
            return
        path = _path(folder, text)
        entry = self.tree.entries.get(path)
        if entry is not None and entry.kind == "blob":
            self._parts.add(Part(oid=entry.oid, naming=naming, path=path, patch=True))


class Comparing:
    """Compares what two commits build: feed it the files that it wants, by their object ids."""

    def __init__(self, before: Collection[Parts], after: Parts) -> None:
        parts = frozenset[Part]().union(*(each.parts for each in before))
        told = frozenset[str]().union(*(each.unseen for each in before))
        # The same file by the same names is the same: where it lies does not matter.
        old, new = {_alike(each): each for each in parts}, {_alike(each): each for each in after.parts}
        self._gone = [each for alike, each in old.items() if alike not in new]
        self._come = [each for alike, each in new.items() if alike not in old]
        self._unseen = set(told | after.unseen)
        self._content: dict[str, bytes] = {}
        if len(self._gone) > READ_LIMIT or len(self._come) > READ_LIMIT:
            self._unseen.add(f"more than {READ_LIMIT} files differ")
            self._gone, self._come = [], []
        if not after.whole:
            self._gone, self._come = [], []

    @property
    def wanted(self) -> set[str]:
        """The object ids of the files to be read: first what went; only if that matters, what came."""
        first = self._unread((*self._gone, *(each for each in self._come if each.patch)))
        return first or (self._unread(self._come) if self._concern else set())

    def _unread(self, parts: Iterable[Part]) -> set[str]:
        return {each.oid for each in parts if each.oid} - self._content.keys()

    @property
    def _concern(self) -> set[Entry]:
        """What went with its file, or is taken away by a patch that came."""
        was, _ = self._objects(self._gone)
        _, taken = self._objects(each for each in self._come if each.patch)
        return was | taken

    def feed(self, oid: str, content: bytes) -> None:
        """Takes a file that was wanted."""
        self._content[oid] = content

    def result(self, inventory: Iterable[Entry] | None) -> Pruned:
        """What goes; with Flux's inventory only what it has there."""
        if self.wanted:
            raise ValueError("not everything was read")
        known = None if inventory is None else list(inventory)
        found = (each for each in self._lost() if known is None or _applied(each, known))
        return Pruned(names=tuple(sorted(str(each) for each in found)), unseen=tuple(sorted(self._unseen)))

    def _lost(self) -> set[Entry]:
        if not self._concern:  # then what came was not read
            return set()
        was, taken_before = self._objects(self._gone)
        there, taken = self._objects(self._come)
        return (was | taken) - (there - taken) - taken_before

    def _objects(self, parts: Iterable[Part]) -> tuple[set[Entry], set[Entry]]:
        """The objects that some files make, and those that they take away."""
        made: set[Entry] = set()
        taken: set[Entry] = set()
        for part in parts:
            content = part.text.encode() if not part.oid else self._content[part.oid]
            try:
                documents = list(_documents(content))
            except (BrokenYaml, yaml.YAMLError, ValueError, RecursionError):
                if not part.patch:  # one by JSON pointers takes no object away
                    self._unseen.add(f"{part.path} cannot be read")
                continue
            for document in documents:
                if document.get("$patch") == "delete":
                    taken |= _named(document, part.naming)
                elif not part.patch and not part.naming.kept and not _is_kept(document):
                    made |= _named(document, part.naming)
        return made, taken


def _alike(part: Part) -> tuple[Any, ...]:
    return part.oid, part.text, part.naming, part.patch


def _applied(entry: Entry, inventory: Iterable[Entry]) -> bool:
    """Whether Flux has it: by kind, and by a name that may have become longer on its way."""
    return any(each.kind == entry.kind and entry.name in each.name for each in inventory)


# Documents.


def _documents(content: bytes) -> Iterator[Mapping[str, Any]]:
    """Every object of a file, those of a list as well."""
    for node in compose_all(content):
        value = yaml.CSafeLoader("").construct_document(node)
        if not isinstance(value, dict):
            continue
        items = value.get("items")
        if str(value.get("kind", "")).endswith("List") and isinstance(items, list):
            yield from (item for item in items if isinstance(item, dict))
        else:
            yield value


def _named(document: Mapping[str, Any], naming: Naming) -> set[Entry]:
    kind, metadata = document.get("kind"), document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if kind not in KINDS or not isinstance(metadata, dict) or not isinstance(name, str):
        return set()
    if kind == NAMESPACE:
        return {Entry("", NAMESPACE, naming.namespace or name)}
    full = name if kind in _NOT_PREFIXED else f"{naming.prefix}{name}{naming.suffix}"
    namespace = naming.namespace or str(metadata.get("namespace") or "")
    return {Entry(namespace if kind == CLAIM else "", kind, full)}


def _is_kept(document: Mapping[str, Any]) -> bool:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return False
    return any(keeps(metadata.get(field)) for field in ("annotations", "labels"))


def keeps(marks: Any) -> bool:
    """Whether annotations or labels say that Flux is to prune nothing."""
    return isinstance(marks, dict) and str(marks.get(KEEP, "")).lower() == KEPT


# Kustomizations.


def _fields(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = next(iter(_documents(content)), {})
    except (BrokenYaml, yaml.YAMLError, ValueError, RecursionError):
        return None
    return found


def _inner(naming: Naming, fields: Mapping[str, Any]) -> Naming:
    """The names of what a kustomization builds; that of the namespace which is nearest to Flux counts."""
    return Naming(
        prefix=naming.prefix + _word(fields.get("namePrefix")),
        suffix=_word(fields.get("nameSuffix")) + naming.suffix,
        namespace=naming.namespace or _word(fields.get("namespace")),
        kept=naming.kept or keeps(fields.get("commonAnnotations")),
    )


def _patches(fields: Mapping[str, Any]) -> Iterator[str]:
    """Paths of patches, and such as stand in the kustomization."""
    yield from _texts(fields.get("patchesStrategicMerge"))
    listed = fields.get("patches")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict):
            inline = _word(each.get("patch"))
            yield from (text for text in (inline and f"{inline}\n", _word(each.get("path"))) if text)


def _texts(value: Any) -> Iterator[str]:
    yield from (each for each in (value if isinstance(value, list) else ()) if isinstance(each, str))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _path(folder: str, text: str) -> str:
    return posixpath.normpath(posixpath.join("/" + folder, text)).lstrip("/")
