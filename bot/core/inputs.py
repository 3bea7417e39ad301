"""Finds what an environment's result depends on in a repository, by following kustomizations without rendering them."""

import hashlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from bot.core.ports import Tree
from bot.core.safe_yaml import BrokenYaml, compose

FILE_LIMIT = 2_000
SIZE_LIMIT = 1_000_000
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")

_FOLDERS_OR_FILES = ("resources", "bases", "components", "crds", "configurations")
_PLUGINS = ("generators", "transformers", "validators")
_HARMLESS = frozenset(
    [
        *("apiVersion", "kind", "metadata", "namespace", "namePrefix", "nameSuffix", "labels", "commonLabels"),
        *("commonAnnotations", "generatorOptions", "images", "imageTags", "replicas", "vars", "buildMetadata"),
        *("sortOptions", "helmGlobals", "inventory"),
    ]
)


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment depends on at a commit: Git's object ids by path, "" for what is referenced but absent.

    With `whole_repository` the only path is the root, and `reason` says what could not be followed. `missing`: the
    environment's own folder does not exist.
    """

    paths: Mapping[str, str]
    whole_repository: bool = False
    reason: str | None = None
    missing: bool = False


def made_of(inputs: Inputs, path: str) -> bool:
    """Whether a file is a part of what an environment depends on."""
    return inputs.whole_repository or any(path == each or path.startswith(f"{each}/") for each in inputs.paths)


def digest(inputs: Inputs, spec: Mapping[str, Any]) -> str:
    """SHA-256 over the paths with their object ids and over the spec that Sluice would write."""
    canonical = msgspec.json.encode({"paths": sorted(inputs.paths.items()), "spec": spec}, order="sorted")
    return hashlib.sha256(canonical).hexdigest()


class _CannotFollow(Exception):
    """The message says what stands in the way; the whole repository counts then."""


class Following:
    """Follows the kustomizations of one environment: feed it what it wants until it wants nothing.

    Remote bases count by their text, which is part of the kustomization: one that names a branch may change without any
    change here. A tree does not tell symbolic links from files: the link counts, not the file that it points to.
    """

    def __init__(self, tree: Tree, path: str, components: Sequence[str] = ()) -> None:
        """`components` are those that the configuration adds, as paths from the environment's folder."""
        self.tree = tree
        self._components = components
        self.path = posixpath.normpath("/" + path).lstrip("/")
        self.wanted: set[str] = set()
        self._seen: set[str] = set()  # folders, and files that had to be read
        self._reached: dict[str, str] = {}
        self._reason: str | None = None
        self._folders = kustomizations_by_folder(tree)
        entry = tree.entries.get(self.path)
        self._missing = not tree.truncated and self.path != "" and (entry is None or entry.kind != "tree")
        if tree.truncated:
            self._give_up("the forge did not list every file of the repository")
        elif not self._missing:
            self._guarded(self._start)

    @property
    def result(self) -> Inputs:
        """What was found; only once nothing is wanted any more."""
        if self.wanted:
            raise ValueError(f"not everything was read: {sorted(self.wanted)[:3]}")
        if self._missing:
            return Inputs(paths={self.path: ""}, missing=True)
        if self._reason is not None:
            return Inputs(paths={"": root_of(self.tree)}, whole_repository=True, reason=self._reason)
        return Inputs(paths={path: self._reached[path] for path in sorted(self._reached) if not self._covered(path)})

    def _covered(self, path: str) -> bool:
        """Whether a folder above it is reached as a whole, so that its id tells enough."""
        while path:
            path = posixpath.dirname(path)
            above = self.tree.entries.get(path)
            if path in self._reached and (path == "" or (above is not None and above.kind == "tree")):
                return True
        return False

    def feed(self, path: str, content: bytes) -> None:
        """Takes the content of a file that was wanted."""
        if path in self.wanted:
            self.wanted.discard(path)
            self._guarded(lambda: self._read(path, content))

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except _CannotFollow as problem:
            self._give_up(str(problem))

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self.wanted.clear()
        self._seen.clear()

    def _start(self) -> None:
        """The environment's own folder. Without a kustomization of its own Flux takes all that lies below it."""
        self._reached[self.path] = self.tree.entries[self.path].oid if self.path else root_of(self.tree)
        for component in self._components:
            self._follow(self.path, "the configuration", _Reference(component))
        if self.path in self._folders:
            self._visit(self.path)
            return
        for folder in self._folders:
            if below(folder, self.path):
                self._visit(folder)

    def _visit(self, folder: str) -> None:
        """A folder that is built: its kustomization is read next."""
        self._note(folder)
        if folder in self._seen:
            return
        self._seen.add(folder)
        files = self._folders.get(folder, [])
        if len(files) > 1:
            raise _CannotFollow(f"{folder or 'the root'} holds more than one kustomization file")
        self._want(files)

    def _want(self, files: list[str]) -> None:
        for path in files:
            if path not in self._seen:
                self._seen.add(path)
                self.wanted.add(path)
        if len(self._seen) > FILE_LIMIT:
            raise _CannotFollow(f"more than {FILE_LIMIT:,} files would have to be read")

    def _note(self, path: str) -> None:
        """Records what a path is now; what lies in the environment's own folder is recorded by that folder's id."""
        if below(path, self.path):
            return
        entry = self.tree.entries.get(path)
        owner = path
        while entry is None and owner:
            owner = posixpath.dirname(owner)
            above = self.tree.entries.get(owner)
            entry = above if above is not None and above.kind == "commit" else None
        self._reached[path] = root_of(self.tree) if path == "" else entry.oid if entry is not None else ""
        if len(self._reached) > FILE_LIMIT:
            raise _CannotFollow(f"more than {FILE_LIMIT:,} files are reached")

    def _read(self, path: str, content: bytes) -> None:
        """One file that was wanted: a kustomization, or a plugin's configuration."""
        if len(content) > SIZE_LIMIT:
            raise _CannotFollow(f"{path} is larger than {SIZE_LIMIT:,} bytes")
        folder, name = posixpath.split(path)
        if name not in KUSTOMIZATIONS:
            self._plugin(path, content.decode("utf-8", "replace"))
            return
        for reference in _references(path, _load(path, content)):
            self._follow(folder, path, reference)

    def _follow(self, folder: str, source: str, reference: "_Reference") -> None:
        """One reference of a kustomization in `folder`."""
        text = reference.text
        if reference.plugin and "\n" in text:
            self._plugin(source, text)
            return
        if text.startswith("/") or "\0" in text or not text:
            raise _CannotFollow(f"{source} refers to “{text[:80]}”, which is no path in the repository")
        if "://" in text or (reference.inline and "\n" in text):
            return
        path = posixpath.normpath(posixpath.join("/" + folder, text)).lstrip("/")
        depth = 0
        for part in posixpath.join(folder, text).split("/"):
            depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
            if depth < 0:
                raise _CannotFollow(f"{source} refers to “{text[:80]}”, which lies outside the repository")
        entry = self.tree.entries.get(path)
        if path == "" or (entry is not None and entry.kind == "tree"):
            self._visit(path)
            return
        self._note(path)
        if reference.plugin and entry is not None and entry.kind == "blob":
            self._want([path])

    def _plugin(self, source: str, text: str) -> None:
        """A generator's or transformer's own configuration, whose fields only the plugin knows."""
        if ".." in text or _absolute(text):
            raise _CannotFollow(f"{source} configures a plugin that may read files elsewhere in the repository")


class _Reference(msgspec.Struct, frozen=True):
    """A path as a kustomization writes it. `inline`: it may be YAML instead; `plugin`: what it names may name more."""

    text: str
    inline: bool = False
    plugin: bool = False


def _references(source: str, fields: Mapping[str, Any]) -> Iterator[_Reference]:
    """Everything that a kustomization refers to."""
    for key, value in fields.items():
        if key in _HARMLESS or value is None:
            continue
        if key in _FOLDERS_OR_FILES:
            yield from (_Reference(_text(source, key, item)) for item in _list(source, key, value))
        elif key in _PLUGINS:
            yield from (_Reference(_text(source, key, item), plugin=True) for item in _list(source, key, value))
        elif key == "patchesStrategicMerge":
            yield from (_Reference(_text(source, key, item), inline=True) for item in _list(source, key, value))
        elif key in ("patches", "patchesJson6902", "replacements"):
            for item in _list(source, key, value):
                yield from _optional(source, key, _mapping(source, key, item), "path")
        elif key in ("configMapGenerator", "secretGenerator"):
            for item in _list(source, key, value):
                yield from _generated(source, key, _mapping(source, key, item))
        elif key == "helmCharts":
            yield from _charts(source, _list(source, key, value), fields)
        elif key == "openapi":
            yield from _optional(source, key, _mapping(source, key, value), "path")
        else:
            raise _CannotFollow(f"{source} has the field “{str(key)[:40]}”, which Sluice cannot follow")


def _generated(source: str, key: str, item: Mapping[str, Any]) -> Iterator[_Reference]:
    """The files of a ConfigMap or Secret: `path` or `key=path`."""
    for file in _list(source, key, item.get("files") or []):
        text = _text(source, key, file)
        yield _Reference(text.partition("=")[2] or text)
    for file in _list(source, key, item.get("envs") or []):
        yield _Reference(_text(source, key, file))
    yield from _optional(source, key, item, "env")


def _charts(source: str, charts: list[Any], fields: Mapping[str, Any]) -> Iterator[_Reference]:
    """The charts' folder and their values files."""
    settings = _mapping(source, "helmGlobals", fields.get("helmGlobals") or {})
    if charts:
        yield _Reference(_text(source, "helmGlobals", settings.get("chartHome") or "charts"))
    for chart in charts:
        item = _mapping(source, "helmCharts", chart)
        yield from _optional(source, "helmCharts", item, "valuesFile")
        for file in _list(source, "helmCharts", item.get("additionalValuesFiles") or []):
            yield _Reference(_text(source, "helmCharts", file))


def _optional(source: str, key: str, item: Mapping[str, Any], field: str) -> Iterator[_Reference]:
    if item.get(field):
        yield _Reference(_text(source, key, item[field]))


def _text(source: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _CannotFollow(f"{source}: {key} holds something that is no path")
    return value


def _list(source: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _CannotFollow(f"{source}: {key} is no list")
    return value


def _mapping(source: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _CannotFollow(f"{source}: {key} holds something that is no mapping")
    return value


def _load(source: str, content: bytes) -> Mapping[str, Any]:
    """A kustomization's fields."""
    try:
        node = compose(content)
        value = None if node is None else yaml.CSafeLoader("").construct_document(node)
    except (BrokenYaml, yaml.YAMLError, ValueError, RecursionError) as problem:
        raise _CannotFollow(f"{source} cannot be read: {str(problem).splitlines()[0][:200]}") from problem
    if value is None:
        return {}
    return _mapping(source, "the file", value)


def _absolute(text: str) -> bool:
    """Whether a plugin's configuration names a file from the root of the file system."""
    return any(word.startswith("/") for word in text.replace('"', " ").replace("'", " ").split())


def kustomizations_by_folder(tree: Tree) -> dict[str, list[str]]:
    """The kustomization files of each folder that has one."""
    folders: dict[str, list[str]] = {}
    for path, entry in tree.entries.items():
        folder, name = posixpath.split(path)
        if name in KUSTOMIZATIONS and entry.kind == "blob":
            folders.setdefault(folder, []).append(path)
    return folders


def below(path: str, folder: str) -> bool:
    """Whether a path is a folder's, or the folder itself."""
    return folder == "" or path == folder or path.startswith(folder + "/")


def root_of(tree: Tree) -> str:
    """The root's object id; where a forge does not tell it, one made from all that it listed."""
    root = tree.entries.get("")
    if root is not None:
        return root.oid
    listed = sorted((path, entry.oid) for path, entry in tree.entries.items())
    return hashlib.sha256(msgspec.json.encode(listed)).hexdigest()
