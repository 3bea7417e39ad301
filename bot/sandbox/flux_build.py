"""What kustomize makes of a folder: plain YAML, and `resources:` naming files and folders. Nothing else.

The failures are worded as kustomize 5.8 (api v0.21) and Flux's generator word them.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bot.sandbox.cluster_errors import Json
from bot.sandbox.cluster_kinds import for_object

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_READ = {"apiVersion", "kind", "metadata", "resources", "images"}


def _words(text: str) -> list[str]:
    return text.split()


_KUSTOMIZE_FIELDS = _words(
    "bases buildMetadata commonAnnotations commonLabels components configMapGenerator configurations "
    "crds generatorOptions generators helmCharts helmGlobals inventory labels namePrefix "
    "nameSuffix namespace openapi patches patchesJson6902 patchesStrategicMerge replacements replicas "
    "secretGenerator sortOptions transformers validators vars"
)
_SPEC_FIELDS = _words(
    "buildMetadata commonMetadata components decryption healthCheckExprs images kubeConfig namePrefix "
    "nameSuffix patches postBuild"
)


class BuildError(Exception):
    """The manifests cannot be built; the text is Flux's."""


class Malformed(BuildError):
    """A file that is not YAML."""


class Unloadable(BuildError):
    """A kustomization file that cannot be taken as one."""


def unsupported(spec: Json) -> str | None:
    """A field of the Kustomization that only a real Flux carries out."""
    return next((name for name in _SPEC_FIELDS if spec.get(name)), None)


def build(files: Mapping[str, bytes], path: str, target_namespace: str, root: str) -> list[Json]:
    """The objects of a folder, in the order of a build, moved to the target namespace where there is one."""
    builder = _Builder(files, root)
    objects = builder.top(path)
    if target_namespace:
        for obj in objects:
            _move(obj, target_namespace)
    for obj in objects:
        if not obj.get("apiVersion"):
            text = json.dumps(obj, sort_keys=True, separators=(",", ":"), default=str)
            raise BuildError(f"failed to decode Kubernetes apiVersion, kind and name from: {text}")
    return objects


def folder(files: Mapping[str, bytes], path: str) -> str | None:
    """A path of a Kustomization inside the tree (it cannot leave it), or None when there is no such folder."""
    clean = posixpath.normpath("/" + path).lstrip("/")
    if clean == "" or any(name.startswith(f"{clean}/") for name in files):
        return clean
    return None


def _move(obj: Json, namespace: str) -> None:
    kind = for_object(obj)
    if obj["kind"] == "Namespace":
        obj["metadata"]["name"] = namespace
    elif kind is None or kind.namespaced:
        obj["metadata"]["namespace"] = namespace


class _Builder:
    def __init__(self, files: Mapping[str, bytes], root: str) -> None:
        self._files = files
        self._root = root

    def top(self, path: str) -> list[Json]:
        """The folder that the Kustomization names; without a kustomization file, all YAML below it.

        Flux reads and rewrites the topmost kustomization file before kustomize does: its faults are worded otherwise,
        and fields that kustomize does not know are lost there without a word.
        """
        try:
            file = self._kustomization_file(path)
        except BuildError as problem:
            raise BuildError(f"kustomize build failed: {problem}") from None
        if file is None:
            found: list[str] = []
            self._scan(path, found)
            names = [f"./{posixpath.relpath(name, path or '.')}" for name in found]
        else:
            names = self._rewritten(file)
        try:
            objects = self._accumulate(path, names, (path,))
        except BuildError as problem:
            raise BuildError(f"kustomize build failed: {problem}") from None
        return _imaged(self._content(file)[0] if file is not None else None, objects)

    def _rewritten(self, file: str) -> list[str]:
        content, problem = self._content(file)
        if problem:
            raise BuildError(f"error converting YAML to JSON: {problem}")
        names, problem = _resources(content, file)
        if problem:
            raise BuildError(f"error unmarshaling JSON: while decoding JSON: {problem}")
        return names

    def _scan(self, path: str, listed: list[str]) -> None:
        """Flux's generator: folders with a kustomization file are taken as they are, others are gone through."""
        prefix = f"{path}/" if path else ""
        below = sorted({name[len(prefix) :].split("/")[0] for name in self._files if name.startswith(prefix)})
        for name in below:
            inner = prefix + name
            if inner not in self._files:
                if self._kustomization_file(inner):
                    listed.append(inner)
                else:
                    self._scan(inner, listed)
            elif name.endswith((".yaml", ".yml")):
                try:
                    self._documents(inner, inner)
                except BuildError as problem:
                    where = self._shown(inner)
                    text = str(problem).removesuffix(f" in File: {inner}")
                    raise BuildError(f"failed to decode Kubernetes YAML from {where}: {text}") from None
                listed.append(inner)

    def _kustomization_file(self, path: str) -> str | None:
        found = [name for name in NAMES if posixpath.join(path, name) in self._files]
        if len(found) > 1:
            raise BuildError(f"Found multiple kustomization files under: {self._shown(path)}\n")
        return posixpath.join(path, found[0]) if found else None

    def _kustomize(self, path: str, visited: tuple[str, ...]) -> list[Json]:
        """A folder below the topmost one."""
        file = self._kustomization_file(path)
        if file is None:
            names = ", ".join(f"'{name}'" for name in NAMES[:-1])
            raise Unloadable(f"unable to find one of {names} or '{NAMES[-1]}' in directory '{self._shown(path)}'")
        content, problem = self._content(file)
        listed, fault = _resources(content, file)
        unknown = [name for name in content if name not in _READ] if isinstance(content, dict) else []
        if not (problem or fault) and unknown:
            fault = f'json: unknown field "{unknown[0]}"'
        if problem or fault:
            raise Unloadable(f"invalid Kustomization: {problem or fault}")
        if not content:
            raise Unloadable("kustomization.yaml is empty")
        return _imaged(content, self._accumulate(path, listed, (*visited, path)))

    def _content(self, file: str) -> tuple[Any, str]:
        try:
            return yaml.load(self._files[file], Loader=yaml.CSafeLoader), ""
        except (yaml.YAMLError, UnicodeDecodeError) as problem:
            return None, _go_yaml(problem)

    def _accumulate(self, path: str, listed: list[str], visited: tuple[str, ...]) -> list[Json]:
        """Files and folders, each as kustomize tries it: as a file first, then as a folder."""
        found: list[Json] = []
        for shown in listed:
            name = posixpath.normpath(posixpath.join("/", path, shown)).lstrip("/")
            try:
                self._one(path, name, shown, visited, found)
            except BuildError as problem:
                raise BuildError(f"accumulating resources: {problem}") from None
        return found

    def _one(self, path: str, name: str, shown: str, visited: tuple[str, ...], found: list[Json]) -> None:
        if "://" in shown:
            raise BuildError(f"the sandbox does not support remote resources: '{shown}'")
        try:
            self._add(found, self._file(path, name, shown), shown)
        except Malformed as problem:
            if name in self._files:
                raise BuildError(f"accumulating resources from '{shown}': {problem}") from None
            raise
        except BuildError as as_file:
            inner = self._directory(path, name, shown, visited, str(as_file))
            self._add(found, inner, shown)

    def _file(self, path: str, name: str, shown: str) -> list[Json]:
        where = f"accumulating resources from '{shown}'"
        if _leaves(path, shown):
            outside = self._outside(path, shown)
            limit = f"path '{outside}' is not in or below '{self._root}'"
            raise BuildError(f"{where}: fs-security-constraint read {outside}: {limit}")
        if name not in self._files:
            problem = "is a directory" if folder(self._files, name) is not None else "no such file or directory"
            verb = "read" if problem == "is a directory" else "open"
            raise BuildError(f"{where}: {verb} {self._shown(name)}: {problem}")
        try:
            return self._documents(name, shown)
        except Malformed:
            raise
        except BuildError as problem:
            raise BuildError(f"{where}: {problem}") from None

    def _directory(self, path: str, name: str, shown: str, visited: tuple[str, ...], as_file: str) -> list[Json]:
        place = self._outside(path, shown) if _leaves(path, shown) else self._shown(name)
        if shown.startswith("/"):
            problem = f"new root '{shown}' cannot be absolute"
        elif name in self._files:
            problem = f"must build at directory: '{place}': file is not directory"
        elif _leaves(path, shown) or folder(self._files, name) is None:
            link = f"evalsymlink failure on '{place}' : lstat {place}: no such file or directory"
            problem = f"must build at directory: not a valid directory: {link}"
        elif seen := [seen for seen in visited if name == "" or f"{seen}/".startswith(f"{name}/")]:
            problem = f"cycle detected: candidate root '{place}' contains visited root '{self._shown(seen[-1])}'"
        else:
            try:
                return self._kustomize(name, visited)
            except Unloadable as fault:
                problem = f"couldn't make target for path '{place}': {fault}"
            except BuildError as fault:
                problem = f"recursed accumulation of path '{place}': {fault}"
        raise BuildError(f"accumulation err='{as_file}': {problem}")

    def _outside(self, path: str, shown: str) -> str:
        return posixpath.normpath(posixpath.join(self._shown(path), shown))

    def _add(self, found: list[Json], more: list[Json], shown: str) -> None:
        for obj in more:
            if any(_identity(obj) == _identity(other) for other in found):
                text = f"may not add resource with an already registered id: {_id_text(obj)}"
                raise BuildError(f"merging resources from '{shown}': {text}")
            found.append(obj)

    def _documents(self, name: str, shown: str) -> list[Json]:
        try:
            content = [
                doc
                for doc in yaml.load_all(self._files[name], Loader=yaml.CSafeLoader)
                if doc is not None and doc != {}
            ]
        except (yaml.YAMLError, UnicodeDecodeError) as problem:
            raise Malformed(f"MalformedYAMLError: {_go_yaml(problem)} in File: {shown}") from None
        objects: list[Json] = []
        for doc in content:
            objects += _checked(doc)
        return objects

    def _shown(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _resources(content: Any, file: str) -> tuple[list[str], str]:
    """What a kustomization file lists, and what is wrong with its types in Go's words."""
    if content is None:
        return [], ""
    if not isinstance(content, dict):
        kind = "array" if isinstance(content, list) else "string"
        return [], f"json: cannot unmarshal {kind} into Go value of type types.Kustomization"
    for name in content:
        if name in _KUSTOMIZE_FIELDS and content[name]:
            text = "it applies plain YAML and resources only"
            raise BuildError(f"the sandbox does not support '{name}' in {file}: {text}")
    listed = content.get("resources") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return [], "json: cannot unmarshal object into Go struct field Kustomization.resources of type string"
    return listed, ""


def _imaged(content: Any, objects: list[Json]) -> list[Json]:
    """The objects with what a kustomization's `images` says of their containers."""
    wanted = content.get("images") if isinstance(content, dict) else None
    for image in wanted or ():
        for obj in objects:
            for container in _containers(obj.get("spec")):
                name, tag = _reference(str(container.get("image", "")))
                if name == image.get("name"):
                    name = image.get("newName") or name
                    tag = f":{image['newTag']}" if image.get("newTag") else tag
                    container["image"] = name + (f"@{image['digest']}" if image.get("digest") else tag)
    return objects


def _containers(spec: Any) -> Iterator[Json]:
    """The containers of a Pod, or of whatever has a template for one."""
    if not isinstance(spec, dict):
        return
    for key in ("containers", "initContainers"):
        yield from (each for each in spec.get(key) or () if isinstance(each, dict))
    for key in ("template", "jobTemplate"):
        if isinstance(spec.get(key), dict):
            yield from _containers(spec[key].get("spec"))


def _reference(image: str) -> tuple[str, str]:
    """An image's name, and its tag or digest with the sign before it."""
    name, at, digest = image.partition("@")
    if at:
        return name, f"@{digest}"
    head, colon, tag = image.rpartition(":")
    return (head, f":{tag}") if colon and "/" not in tag else (image, "")


def _leaves(path: str, name: str) -> bool:
    return name.startswith("/") or posixpath.normpath(posixpath.join(path, name)).split("/")[0] == ".."


def _checked(doc: Any) -> list[Json]:
    """One document as objects; a list is taken apart."""
    if not isinstance(doc, dict):
        raise BuildError("missing Resource metadata")
    kind = doc.get("kind")
    if kind and str(kind).endswith("List") and isinstance(doc.get("items"), list):
        return [obj for item in doc["items"] for obj in _checked(item)]
    meta = doc.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    shown = f"{{{{{doc.get('apiVersion', '')} {kind or ''}}} {{{{{meta.get('name', '')} {meta.get('namespace', '')}}}"
    shown += f" {_go_map(meta.get('labels'))} {_go_map(meta.get('annotations'))}}}}}"
    if not kind:
        raise BuildError(f"missing kind in object {shown}")
    if not meta.get("name"):
        raise BuildError(f"missing metadata.name in object {shown}")
    return [doc]


def _go_map(value: Any) -> str:
    found = value if isinstance(value, dict) else {}
    return f"map[{' '.join(f'{key}:{found[key]}' for key in sorted(found))}]"


def _identity(obj: Json) -> tuple[str, str, str, str]:
    meta = obj["metadata"]
    return (obj.get("apiVersion", ""), obj["kind"], meta.get("namespace", ""), meta["name"])


def _id_text(obj: Json) -> str:
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    meta = obj["metadata"]
    return f"{obj['kind']}.{version}.{group or '[noGrp]'}/{meta['name']}.{meta.get('namespace') or '[noNs]'}"


def _go_yaml(problem: Exception) -> str:
    """The words of Go's YAML library, which like PyYAML's fast loader says what libyaml says."""
    if not isinstance(problem, yaml.MarkedYAMLError):
        return f"yaml: {problem}"
    mark = problem.context_mark if problem.context_mark and problem.context_mark.line else problem.problem_mark
    line = mark.line if mark else 0
    if isinstance(problem, yaml.scanner.ScannerError):
        line += 1
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{problem.problem}"
