"""Real Git repositories on disk, without a git binary: what the sandbox's forge and its Flux both read and write."""

from __future__ import annotations

import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dulwich.diff_tree import tree_changes
from dulwich.errors import NotTreeError
from dulwich.object_store import commit_tree_changes, iter_tree_contents, tree_lookup_path
from dulwich.objects import Blob, ObjectID, Tree
from dulwich.objects import Commit as RawCommit
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._\[\]-]{0,99}/[A-Za-z0-9_.-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}")
_REGULAR = 0o100644
_KINDS = {stat.S_IFDIR: "tree", 0o160000: "commit"}
_CACHED_TREES = 512

Allowed = Callable[[str, tuple[str, str] | None], bool]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought: the revision's name and every file."""

    revision: str
    files: dict[str, bytes]


class FetchError(Exception):
    """A fetch failed, in Git's words."""


class GitError(Exception):
    """A repository, branch, commit or path is not there, or cannot be as asked."""


class MergeConflict(GitError):
    """Both sides changed the same paths."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(f"both sides changed {', '.join(paths)}")
        self.paths = paths


@dataclass(frozen=True, slots=True)
class TreeEntry:
    path: str
    mode: str
    type: str
    oid: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    email: str
    at: int


@dataclass(frozen=True, slots=True)
class CommitInfo:
    sha: str
    tree: str
    parents: tuple[str, ...]
    message: str
    author: Signature
    committer: Signature


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two commits; `status` is added, removed, modified or renamed."""

    path: str
    status: str
    old: str | None
    new: str | None
    previous: str | None = None


class GitStore:
    """Bare repositories under one folder, safe to use from several threads."""

    def __init__(
        self, folder: Path, *, clock: Callable[[], float] = time.time, allowed: Allowed = lambda name, credentials: True
    ) -> None:
        self.folder = folder
        self.url = ""  # set by the forge that serves the repositories; empty: any host will do
        self.allowed = allowed
        self._clock = clock
        self._lock = threading.RLock()
        self._repos: dict[str, Repo] = {}
        self._names: dict[str, str] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._trees: dict[str, tuple[TreeEntry, ...]] = {}

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            for repo in self._repos.values():
                repo.close()

    # Repositories and branches

    def create(self, full_name: str) -> None:
        """Make an empty bare repository."""
        if not _NAME.fullmatch(full_name) or full_name.rpartition("/")[2] in (".", "..") or full_name.endswith(".git"):
            raise GitError(f"{full_name!r} is not a repository name")
        with self._lock:
            if full_name.lower() in self._names:
                raise GitError(f"{full_name} exists already")
            path = self.folder / f"{full_name}.git"
            path.mkdir(parents=True)
            self._repos[full_name] = Repo.init_bare(str(path), default_branch=b"main")
            self._names[full_name.lower()] = full_name

    def exists(self, full_name: str) -> bool:
        """Whether there is such a repository; like GitHub, case does not matter."""
        return full_name.lower() in self._names

    def fork(self, full_name: str, new_name: str) -> None:
        """Copy a repository with all its branches."""
        with self._lock:
            self.create(new_name)
            for branch, sha in self.branches(full_name).items():
                self.borrow(full_name, sha, new_name)
                self.set_ref(new_name, branch, sha, None)

    def branches(self, full_name: str) -> dict[str, str]:
        """Every branch with the commit it points at, sorted by name."""
        with self._lock:
            refs = self._repo(full_name).refs.as_dict(Ref(b"refs/heads"))
            return {name.decode(): sha.decode() for name, sha in sorted(refs.items())}

    def head(self, full_name: str, branch: str) -> str | None:
        """The commit a branch points at, None without such a branch."""
        return self.read_ref(full_name, f"refs/heads/{branch}")

    def read_ref(self, full_name: str, ref: str) -> str | None:
        """The commit that any full ref points at."""
        with self._lock:
            try:
                return self._repo(full_name).refs[Ref(ref.encode())].decode()
            except (KeyError, ValueError):
                return None

    def set_ref(self, full_name: str, branch: str, sha: str, expected: str | None) -> bool:
        """Point a branch at a commit if it still is at `expected` (None: if it is not there yet)."""
        ref = _branch_ref(branch)
        with self._lock:
            repo = self._repo(full_name)
            self._raw_commit(full_name, sha)
            if expected is None:
                return _can_exist(ref, repo) and repo.refs.add_if_new(ref, _oid(sha))
            return repo.refs.set_if_equals(ref, _oid(expected), _oid(sha))

    def delete_ref(self, full_name: str, branch: str, expected: str | None = None) -> bool:
        """Remove a branch, if it still is at `expected` where that is given."""
        with self._lock:
            current = self.head(full_name, branch)
            if current is None or expected not in (None, current):
                return False
            return self._repo(full_name).refs.remove_if_equals(_branch_ref(branch), _oid(current))

    def keep(self, full_name: str, ref: str, sha: str) -> None:
        """Point a ref outside the branches (`refs/pull/1/head`) at a commit; nobody can fetch it by branch."""
        with self._lock:
            self._repo(full_name).refs[Ref(ref.encode())] = _oid(sha)

    # Commits

    def commit(
        self,
        full_name: str,
        branch: str,
        changes: Mapping[str, bytes | None],
        message: str,
        author: str,
        parent: str | None = None,
        *,
        modes: Mapping[str, int] | None = None,
    ) -> str:
        """Put one commit on a branch (made when missing) and return it; with `parent` the branch is moved there first.

        None as content deletes the path; `modes` sets file modes (0o120000 is a symbolic link, 0o100755 a program).
        """
        with self._lock:
            repo = self._repo(full_name)
            current = self.head(full_name, branch)
            parent = parent or current
            root = self._raw_commit(full_name, parent).tree if parent else _empty_tree(repo)
            tree = _edited(repo, root, changes, modes or {})
            sha = self._write_commit(repo, tree, [parent] if parent else [], message, author)
            if not self.set_ref(full_name, branch, sha, current):
                raise GitError(f"{branch!r} cannot be a branch here")
            return sha

    def write_blob(self, full_name: str, content: bytes) -> str:
        """Keep a file's content under its object id, in no tree yet."""
        with self._lock:
            blob = Blob.from_string(content)
            self._repo(full_name).object_store.add_object(blob)
            return blob.id.decode()

    def write_tree(self, full_name: str, base: str | None, entries: Mapping[str, tuple[int, str] | None]) -> str:
        """Keep a tree: `base` with these paths as (mode, blob), or without them where that is None."""
        with self._lock:
            repo = self._repo(full_name)
            for path in entries:
                _check_path(path)
            root = _oid(self._root(full_name, base)) if base else _empty_tree(repo)
            for path, entry in entries.items():
                if entry is None and _lookup(repo, root, path) is None:
                    raise GitError(f"{path} is not there to be removed")
                if entry is not None:
                    self.blob(full_name, entry[1])
            return _replaced(repo, root, entries).decode()

    def write_commit(self, full_name: str, tree: str, parents: Sequence[str], message: str, author: str) -> str:
        """Keep a commit that no branch holds yet."""
        with self._lock:
            if not isinstance(self._object(full_name, tree), Tree):
                raise GitError("Tree SHA does not exist")
            if not all(self._is_commit(full_name, parent) for parent in parents):
                raise GitError("Parent SHA does not exist or is not a commit object")
            return self._write_commit(self._repo(full_name), _oid(tree), list(parents), message, author)

    def info(self, full_name: str, sha: str) -> CommitInfo:
        """What a commit says about itself."""
        with self._lock:
            raw = self._raw_commit(full_name, sha)
            return CommitInfo(
                sha,
                raw.tree.decode(),
                tuple(parent.decode() for parent in raw.parents),
                raw.message.decode(errors="replace").removesuffix("\n"),
                _signature(raw.author, raw.author_time),
                _signature(raw.committer, raw.commit_time),
            )

    def resolve(self, full_name: str, name: str) -> str | None:
        """The commit that a branch, a full ref, a commit id or the start of one stands for."""
        with self._lock:
            if name.startswith(("refs/", "heads/")):
                return self.read_ref(full_name, "refs/" + name.removeprefix("refs/"))
            if found := self.head(full_name, name):
                return found
            if _SHA.fullmatch(name):
                return name if self._is_commit(full_name, name) else None
            if re.fullmatch(r"[0-9a-f]{4,39}", name):
                oids = [oid.decode() for oid in self._repo(full_name).object_store.iter_prefix(name.encode())]
                commits = [oid for oid in oids if self._is_commit(full_name, oid)]
                return commits[0] if len(commits) == 1 else None
            return None

    def history(self, full_name: str, head: str, without: str | None = None) -> list[str]:
        """The commits reachable from `head` and not from `without`, parents before children."""
        with self._lock:
            wanted = self._ancestors(full_name, head)
            if without:
                wanted = wanted - self._ancestors(full_name, without)
            return self._parents_first(head, wanted)

    def is_ancestor(self, full_name: str, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` is or contains `ancestor`."""
        with self._lock:
            return ancestor in self._ancestors(full_name, descendant)

    def merge_base(self, full_name: str, one: str, other: str) -> str | None:
        """The best common ancestor, None for unrelated histories."""
        with self._lock:
            common = self._ancestors(full_name, one) & self._ancestors(full_name, other)
            best = common - {parent for sha in common for parent in self._parents[sha]}
            return min(best, default=None)

    def merge(
        self, full_name: str, base: str, head_sha: str, message: str, author: str, *, squash: bool = False
    ) -> str:
        """Merge a commit into a branch, path by path; MergeConflict when both changed one.

        The result is a merge commit, or with `squash` an ordinary one.
        """
        with self._lock:
            ours = self.head(full_name, base)
            if ours is None:
                raise GitError(f"there is no branch {base}")
            changes = self.merge_changes(full_name, ours, head_sha)
            repo = self._repo(full_name)
            tree = _replaced(repo, self._raw_commit(full_name, ours).tree, changes)
            parents = [ours] if squash else [ours, head_sha]
            sha = self._write_commit(repo, tree, parents, message, author)
            self.set_ref(full_name, base, sha, ours)
            return sha

    def merge_changes(self, full_name: str, ours: str, theirs: str) -> dict[str, tuple[int, str] | None]:
        """What has to change in `ours` to contain `theirs`."""
        with self._lock:
            base = self.merge_base(full_name, ours, theirs)
            before = self._flat(full_name, base) if base else {}
            mine, other = self._flat(full_name, ours), self._flat(full_name, theirs)
        changed = {path for path in before.keys() | other.keys() if before.get(path) != other.get(path)}
        changed = {path for path in changed if mine.get(path) != other.get(path)}
        conflicts = {path for path in changed if mine.get(path) != before.get(path)}
        result = (mine.keys() - changed) | {path for path in changed if path in other}
        folders = {path[:at] for path in result for at, char in enumerate(path) if char == "/"}
        if conflicts := conflicts | (folders & result):
            raise MergeConflict(sorted(conflicts))
        return {path: other.get(path) for path in changed}

    def borrow(self, source: str, sha: str, target: str) -> None:
        """Copy a commit and all it needs from one repository to another, as GitHub does within a fork network."""
        with self._lock:
            theirs, ours = self._repo(source).object_store, self._repo(target).object_store
            for commit in self._ancestors(source, sha):
                if _oid(commit) in ours:
                    continue
                raw = self._raw_commit(source, commit)
                for entry in iter_tree_contents(theirs, raw.tree, include_trees=True):
                    if entry.sha is not None and entry.sha in theirs and entry.sha not in ours:
                        ours.add_object(theirs[entry.sha])
                ours.add_object(raw)

    # Trees and files

    def tree(self, full_name: str, sha: str) -> tuple[TreeEntry, ...]:
        """Every folder and file below a commit or a tree, in Git's order."""
        with self._lock:
            root = self._root(full_name, sha)
            if root not in self._trees:
                if len(self._trees) >= _CACHED_TREES:
                    self._trees.clear()
                store = self._repo(full_name).object_store
                entries = iter_tree_contents(store, _oid(root), include_trees=True)
                self._trees[root] = tuple(self._entry(full_name, e.path, e.mode, e.sha) for e in entries if e.path)
            return self._trees[root]

    def read(self, full_name: str, sha: str, path: str) -> bytes:
        """A file's content at a commit; GitError when it is not there."""
        with self._lock:
            store = self._repo(full_name).object_store
            try:
                _, oid = tree_lookup_path(store.__getitem__, _oid(self._root(full_name, sha)), path.encode())
            except (KeyError, ValueError, NotTreeError) as error:
                raise GitError(f"{path} is not in {sha}") from error
            return self.blob(full_name, oid.decode())

    def blob(self, full_name: str, oid: str) -> bytes:
        """A file's content by its object id."""
        with self._lock:
            found = self._object(full_name, oid)
            if not isinstance(found, Blob):
                raise GitError(f"there is no blob {oid}")
            return found.data

    def diff(self, full_name: str, old: str | None, new: str) -> list[Change]:
        """What changed between two commits, with files that only moved as renamed."""
        with self._lock:
            store = self._repo(full_name).object_store
            before = _oid(self._root(full_name, old)) if old else None
            found = list(tree_changes(store, before, _oid(self._root(full_name, new)), change_type_same=True))
        return _with_renames([_change(item.old, item.new) for item in found])

    # What Flux sees

    def fetch(self, url: str, credentials: tuple[str, str] | None, branch: str | None, commit: str | None) -> Fetched:
        """Clone as source-controller does: only what the branches reach, never a fork's head."""
        name = self._served(url, credentials)  # outside the lock: the predicate may take the forge's
        with self._lock:
            branches = self.branches(name)
            branch = branch if branch or commit else "master"
            if branch and branch not in branches:
                raise FetchError(f"unable to clone '{url}': couldn't find remote ref \"refs/heads/{branch}\"")
            heads = [branches[branch]] if branch else list(branches.values())
            if commit and not any(commit in self._ancestors(name, head) for head in heads):
                raise FetchError(f"unable to resolve commit object for '{commit}': object not found")
            sha = commit or heads[0]
            revision = f"{branch}@sha1:{sha}" if branch else f"sha1:{sha}"
            return Fetched(revision, self.files(name, sha))

    def files(self, full_name: str, sha: str) -> dict[str, bytes]:
        """Every regular file at a commit with its content."""
        with self._lock:
            entries = [e for e in self.tree(full_name, sha) if e.type == "blob" and e.mode != "120000"]
            return {entry.path: self.blob(full_name, entry.oid) for entry in entries}

    def _served(self, url: str, credentials: tuple[str, str] | None) -> str:
        try:
            parts = urlsplit(url)
            here = urlsplit(self.url)
            same_port = parts.scheme == "ssh" or parts.port == here.port  # SSH has one of its own
            ours = not self.url or (parts.hostname == here.hostname and same_port)
        except ValueError as error:
            raise FetchError(f"unable to clone '{url}': {error}") from error
        if parts.scheme not in ("http", "https", "ssh") or not ours:
            raise FetchError(f"unable to clone '{url}': dial tcp: lookup {parts.hostname}: no such host")
        wanted = parts.path.strip("/").removesuffix(".git").lower()
        name = self._names.get(wanted)
        if not self.allowed(name or wanted, credentials):
            why = "Invalid username or token." if credentials else "Repository not found."
            raise FetchError(f"unable to clone '{url}': authentication required: {why}")
        if name is None:
            raise FetchError(f"unable to clone '{url}': repository not found: Repository not found.")
        return name

    # Inside

    def _repo(self, full_name: str) -> Repo:
        name = self._names.get(full_name.lower())
        if name is None:
            raise GitError(f"there is no repository {full_name}")
        return self._repos[name]

    def _object(self, full_name: str, oid: str) -> object:
        if not _SHA.fullmatch(oid):
            return None
        try:
            return self._repo(full_name).object_store[_oid(oid)]
        except KeyError:
            return None

    def _is_commit(self, full_name: str, sha: str) -> bool:
        return isinstance(self._object(full_name, sha), RawCommit)

    def _raw_commit(self, full_name: str, sha: str) -> RawCommit:
        found = self._object(full_name, sha)
        if not isinstance(found, RawCommit):
            raise GitError(f"there is no commit {sha}")
        return found

    def _root(self, full_name: str, sha: str) -> str:
        found = self._object(full_name, sha)
        if isinstance(found, RawCommit):
            return str(found.tree.decode())
        if isinstance(found, Tree):
            return sha
        raise GitError(f"there is no tree {sha}")

    def _entry(self, full_name: str, path: bytes, mode: int | None, oid: ObjectID | None) -> TreeEntry:
        assert mode is not None
        assert oid is not None
        kind = _KINDS.get(stat.S_IFMT(mode), "blob")
        size = len(self.blob(full_name, oid.decode())) if kind == "blob" else None
        return TreeEntry(path.decode(errors="replace"), f"{mode:06o}", kind, oid.decode(), size)

    def _flat(self, full_name: str, sha: str) -> dict[str, tuple[int, str]]:
        return {e.path: (int(e.mode, 8), e.oid) for e in self.tree(full_name, sha) if e.type != "tree"}

    def _ancestors(self, full_name: str, sha: str) -> set[str]:
        seen: set[str] = set()
        todo = [sha]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            if current not in self._parents:
                raw = self._raw_commit(full_name, current)
                self._parents[current] = tuple(parent.decode() for parent in raw.parents)
            todo.extend(self._parents[current])
        return seen

    def _parents_first(self, head: str, wanted: set[str]) -> list[str]:
        done: dict[str, None] = {}
        todo = [head] if head in wanted else []
        while todo:
            waiting = [p for p in self._parents[todo[-1]] if p in wanted and p not in done]
            if waiting:
                todo.append(waiting[0])
            else:
                done[todo.pop()] = None
        return list(done)

    def _write_commit(self, repo: Repo, tree: ObjectID, parents: list[str], message: str, author: str) -> str:
        raw = RawCommit()
        raw.tree = tree
        raw.parents = [_oid(parent) for parent in parents]
        raw.author = raw.committer = author.encode()
        raw.author_time = raw.commit_time = int(self._clock())
        raw.author_timezone = raw.commit_timezone = 0
        raw.encoding = b"UTF-8"
        raw.message = message.encode() + b"\n"
        repo.object_store.add_object(raw)
        return raw.id.decode()


def _with_renames(changes: list[Change]) -> list[Change]:
    """Tell a file that only moved from one removed and one added."""
    removed = {change.old: change.path for change in changes if change.status == "removed"}
    moved: set[str] = set()
    result: list[Change] = []
    for change in changes:
        if change.status == "added" and change.new in removed:
            previous = removed.pop(change.new)
            moved.add(previous)
            change = Change(change.path, "renamed", change.new, change.new, previous)
        result.append(change)
    return [change for change in result if change.status != "removed" or change.path not in moved]


def _oid(sha: str) -> ObjectID:
    return ObjectID(sha.encode())


def _branch_ref(branch: str) -> Ref:
    ref = Ref(f"refs/heads/{branch}".encode())
    if not check_ref_format(ref):
        raise GitError(f"{branch!r} is not a valid branch name")
    return ref


def _can_exist(ref: Ref, repo: Repo) -> bool:
    """Git keeps branches as files: `a` and `a/b` cannot both be there."""
    others = repo.refs.allkeys()
    return not any(other.startswith(ref + b"/") or ref.startswith(other + b"/") for other in others)


def _empty_tree(repo: Repo) -> ObjectID:
    tree = Tree()
    repo.object_store.add_object(tree)
    return tree.id


def _edited(repo: Repo, root: ObjectID, changes: Mapping[str, bytes | None], modes: Mapping[str, int]) -> ObjectID:
    entries: dict[str, tuple[int, str] | None] = {}
    for path, content in changes.items():
        _check_path(path)
        old = _lookup(repo, root, path)
        if content is None:
            if old is None:
                raise GitError(f"{path} is not there to be removed")
            entries[path] = None
            continue
        blob = Blob.from_string(content)
        repo.object_store.add_object(blob)
        mode = modes.get(path) or (old[0] if old and not stat.S_ISDIR(old[0]) else _REGULAR)
        entries[path] = (mode, blob.id.decode())
    return _replaced(repo, root, entries)


def _check_path(path: str) -> None:
    if any(part in ("", ".", "..", ".git") for part in path.split("/")) or "\0" in path:
        raise GitError(f"{path!r} is not a path in a repository")


def _replaced(repo: Repo, root: ObjectID, entries: Mapping[str, tuple[int, str] | None]) -> ObjectID:
    gone = [(path.encode(), None, None) for path, entry in entries.items() if entry is None]
    if gone:
        root = commit_tree_changes(repo.object_store, root, gone)
    added = [(path.encode(), entry[0], _oid(entry[1])) for path, entry in entries.items() if entry]
    for path, _, _ in added:
        _check_no_clash(repo, root, path.decode())
    return commit_tree_changes(repo.object_store, root, added) if added else root


def _check_no_clash(repo: Repo, root: ObjectID, path: str) -> None:
    old = _lookup(repo, root, path)
    if old and stat.S_ISDIR(old[0]):
        raise GitError(f"{path} is a folder")
    for folder in _folders(path):
        found = _lookup(repo, root, folder)
        if found and not stat.S_ISDIR(found[0]):
            raise GitError(f"{folder} is a file")


def _folders(path: str) -> Iterable[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _lookup(repo: Repo, root: ObjectID, path: str) -> tuple[int, ObjectID] | None:
    try:
        return tree_lookup_path(repo.object_store.__getitem__, root, path.encode())
    except (KeyError, NotTreeError):
        return None


def _signature(raw: bytes, at: int) -> Signature:
    name, _, rest = raw.decode(errors="replace").rpartition(" <")
    return Signature(name, rest.removesuffix(">"), at)


def _change(old: object, new: object) -> Change:
    old_path, new_path = getattr(old, "path", None), getattr(new, "path", None)
    old_oid, new_oid = getattr(old, "sha", None), getattr(new, "sha", None)
    path = (new_path or old_path or b"").decode(errors="replace")
    status = "modified" if old_path and new_path else "added" if new_path else "removed"
    return Change(path, status, old_oid.decode() if old_oid else None, new_oid.decode() if new_oid else None)
