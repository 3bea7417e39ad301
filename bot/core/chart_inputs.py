"""Finds what an environment that is a Helm chart depends on in a repository: charts in folders, and files of values."""

import posixpath
from collections.abc import Iterator, Sequence

import yaml

from bot.core.inputs import FILE_LIMIT, Inputs, root_of
from bot.core.ports import Tree
from bot.core.safe_yaml import BrokenYaml, compose

CHART_FILE = "Chart.yaml"
_LOCAL = "file://"


class FollowingChart:
    """Follows a chart to the charts beside it that it depends on: feed it what it wants until it wants nothing.

    A chart from elsewhere has no folder here; then only its files of values count.
    """

    def __init__(self, tree: Tree, chart: str | None, values: Sequence[str]) -> None:
        self.tree = tree
        self.wanted: set[str] = set()
        self._reached: dict[str, str] = {}
        self._charts: set[str] = set()
        self._reason: str | None = None
        self._missing = False
        if tree.truncated:
            self._reason = "the forge did not list every file of the repository"
            return
        for path in values:
            self._note(path, "blob")
        if chart is not None:
            self._visit(chart)

    @property
    def result(self) -> Inputs:
        """What was found; only once nothing is wanted any more."""
        if self.wanted:
            raise ValueError(f"not everything was read: {sorted(self.wanted)[:3]}")
        if self._reason is not None:
            return Inputs(paths={"": root_of(self.tree)}, whole_repository=True, reason=self._reason)
        return Inputs(paths=dict(sorted(self._reached.items())), missing=self._missing)

    def feed(self, path: str, content: bytes) -> None:
        """Takes the content of a file that was wanted: a chart's own."""
        if path not in self.wanted:
            return
        self.wanted.discard(path)
        for reference in _local_dependencies(content):
            folder = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), reference)).lstrip("/")
            self._visit(folder)

    def _visit(self, folder: str) -> None:
        """A chart that is packaged; its own file says which others go into it."""
        if folder in self._charts:
            return
        self._charts.add(folder)
        self._note(folder, "tree")
        file = posixpath.join(folder, CHART_FILE)
        entry = self.tree.entries.get(file)
        if entry is not None and entry.kind == "blob":
            self.wanted.add(file)
        if len(self._charts) > FILE_LIMIT:
            self._reason = f"more than {FILE_LIMIT:,} charts would have to be read"
            self.wanted.clear()

    def _note(self, path: str, kind: str) -> None:
        """Records what a path is now, "" for what is named and absent."""
        if path == "":
            self._reached[path] = root_of(self.tree)
            return
        entry = self.tree.entries.get(path)
        there = entry is not None and entry.kind == kind
        self._reached[path] = entry.oid if entry is not None and there else ""
        self._missing = self._missing or not there


def _local_dependencies(content: bytes) -> Iterator[str]:
    """The charts in other folders that a chart names; a file that cannot be read Flux refuses in its own words."""
    try:
        node = compose(content)
        fields = None if node is None else yaml.CSafeLoader("").construct_document(node)
    except (BrokenYaml, yaml.YAMLError, ValueError, RecursionError):
        return
    listed = fields.get("dependencies") if isinstance(fields, dict) else None
    for each in listed if isinstance(listed, list) else ():
        repository = each.get("repository") if isinstance(each, dict) else None
        if isinstance(repository, str) and repository.startswith(_LOCAL):
            yield repository.removeprefix(_LOCAL)
