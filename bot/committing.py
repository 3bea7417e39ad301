"""Commits of Sluice's own: compared with what is there, never twice for one run, never over somebody's work."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from bot.core.deployments import short
from bot.core.errors import BranchMoved, UserError
from bot.core.ports import Forge, Tree
from bot.store import git_sync
from bot.store.transactions import Store
from models import GitSyncLog, Repository

MOST_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """Files as they are to be on a branch, which is made at the head of `start` where it is missing; None: not there.

    `was` has the object ids of those files that the change was written from; a path that is not in it was not there.
    A file that is something else by now is somebody's work: the change is refused, or made without that file.
    """

    branch: str
    start: str
    files: Mapping[str, bytes | None]
    message: str
    was: Mapping[str, str] = field(default_factory=dict)
    without_theirs: bool = False
    trailers: tuple[str, ...] = ()  # more lines at the message's end, beside our own


Write = Callable[[str], Awaitable[Change]]  # what is to be changed, by the commit that it is written on


@dataclass(frozen=True, kw_only=True)
class Committed:
    """Where the branch is with the change in it; `theirs` are the paths that were left as somebody made them."""

    commit: str
    made: bool  # False: everything was there already
    theirs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Committer:
    """Makes the commits of one run to one repository, and proposes them; each is kept in `git_sync_logs`."""

    store: Store
    forge: Forge
    repository: Repository
    run_id: UUID
    project_id: UUID | None = None

    async def commit(self, change: Change) -> Committed:
        """Put the change on its branch; UserError branch_busy, edited_by_hand, branch_missing or forge_refused.

        A run that was interrupted finds its commit by the line `Sluice-Run: <id>` in its message.
        """

        async def the_same(base: str) -> Change:
            return change

        return await self.rewrite(change.branch, change.start, the_same)

    async def rewrite(self, branch: str, start: str, write: Write) -> Committed:
        """The same for a change that is written anew on every head that is found; `write` may refuse it."""
        before = await self._row(branch)
        if before is not None and before.status == "committed":
            assert before.commit_hash is not None
            return Committed(commit=before.commit_hash, made=True)
        tried = before is not None
        for _ in range(MOST_TRIES):
            done = await self._earlier(branch) if tried else None
            if done is None:
                done = await self._try(branch, start, write)
            if done is not None:
                return done
            tried = True
            await self._note_conflict(branch, "rebased")
        text = f"`{branch}` moved each of the {MOST_TRIES} times that I was about to commit to it"
        await self._end(branch, "failed", conflict="gave_up", error=text)
        raise UserError("branch_busy", f"{text}; repeat the command when it is quiet there")

    async def propose(self, change: Change, title: str, body: str) -> int | None:
        """Commit the change and have a pull request for it; its number, None when there is nothing to propose."""
        return await self.proposed(change, await self.commit(change), title, body)

    async def proposed(self, change: Change, committed: Committed, title: str, body: str) -> int | None:
        """The pull request for what was committed: the open one, or a new one; None when it is merged already."""
        name, base = self.repository.full_name, change.start
        number = await self.forge.find_pull_request(name, change.branch)
        if number is None:
            head = await self.forge.branch_head(name, base)
            if head is None or await self.forge.is_ancestor(name, committed.commit, head):
                return None
            number = await self.forge.create_pull_request(name, change.branch, base, title, body)
        async with self.store.write() as tx:
            await git_sync.note_pull_request(tx, git_sync.id_of(self.run_id, change.branch), number)
        return number

    async def _try(self, branch: str, start: str, write: Write) -> Committed | None:
        """One attempt; None when the branch moved between the look and the write."""
        base = await self._base(branch, start)
        change = await write(base)
        await self._begin(change, base)
        try:
            return await self._write(change, base)
        except BranchMoved:
            return None
        except UserError as error:
            await self._end(branch, "failed", error=error.message)
            raise

    async def _write(self, change: Change, base: str) -> Committed:
        mine, theirs = await self._compare(change, base)
        facts: dict[str, Any] = {"files": sorted(mine), **({"conflict": "by_hand"} if theirs else {})}
        if not mine:
            await self._end(change.branch, "skipped", **facts)
            return Committed(commit=base, made=False, theirs=theirs)
        name = self.repository.full_name
        made = await self.forge.commit_files(name, change.branch, base, mine, self._message(change))
        await self._end(change.branch, "committed", commit_hash=made, **facts)
        return Committed(commit=made, made=True, theirs=theirs)

    async def _earlier(self, branch: str) -> Committed | None:
        """The commit that this run made before it was interrupted, or before an answer was lost."""
        name = self.repository.full_name
        found = await self.forge.find_commit(name, branch, self._line)
        if found is None:
            return None
        await self._end(branch, "committed", commit_hash=found)
        return Committed(commit=found, made=True)

    async def _base(self, branch: str, start: str) -> str:
        name = self.repository.full_name
        found = await self.forge.branch_head(name, branch) or await self.forge.branch_head(name, start)
        if found is None:
            raise UserError("branch_missing", f"there is no branch `{start}` to begin at")
        return found

    async def _compare(self, change: Change, base: str) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
        """What is still to be written, and what somebody else wrote there."""
        tree = await self.forge.tree(self.repository.full_name, base)
        if tree.truncated:
            raise UserError("tree_truncated", "the forge does not list all files of this repository")
        wrong = {path: content for path, content in change.files.items() if _oid(tree, path) != _blob(content, base)}
        theirs = tuple(sorted(path for path in wrong if _is_theirs(tree, path, change.was.get(path))))
        if theirs and not change.without_theirs:
            named = ", ".join(f"`{path}`" for path in theirs)
            await self._note_conflict(change.branch, "by_hand")
            text = f"somebody changed {named} on `{change.branch}` by hand (seen at {short(base)}); I leave it alone"
            raise UserError("edited_by_hand", text)
        return {path: content for path, content in wrong.items() if path not in theirs}, theirs

    @property
    def _line(self) -> str:
        return f"Sluice-Run: {self.run_id}"

    def _message(self, change: Change) -> str:
        return "\n".join([change.message.strip(), "", *change.trailers, self._line])

    async def _row(self, branch: str) -> GitSyncLog | None:
        async with self.store.read() as session:
            return await session.get(GitSyncLog, git_sync.id_of(self.run_id, branch))

    async def _begin(self, change: Change, base: str) -> None:
        author = await self.forge.own_login()
        async with self.store.write() as tx:
            await git_sync.begin(
                tx,
                self.repository,
                self.run_id,
                change.branch,
                project_id=self.project_id,
                base=base,
                files=sorted(change.files),
                message=self._message(change),
                author=author,
            )

    async def _note_conflict(self, branch: str, conflict: str) -> None:
        async with self.store.write() as tx:
            await git_sync.note_conflict(tx, git_sync.id_of(self.run_id, branch), conflict)

    async def _end(self, branch: str, status: str, **facts: Any) -> None:
        async with self.store.write() as tx:
            await git_sync.end(tx, self.repository, git_sync.id_of(self.run_id, branch), status, **facts)


def _oid(tree: Tree, path: str) -> str | None:
    entry = tree.entries.get(path)
    return None if entry is None else entry.oid


def _is_theirs(tree: Tree, path: str, was: str | None) -> bool:
    """Whether the path is not as the change was written from, or a file lies where a folder of it must be."""
    folders = (path[:at] for at, letter in enumerate(path) if letter == "/")
    blocked = any(folder in tree.entries and tree.entries[folder].kind != "tree" for folder in folders)
    return blocked or _oid(tree, path) != was


def _blob(content: bytes | None, like: str) -> str | None:
    """The id that Git gives to a file's content, in a repository whose ids look `like` this one."""
    if content is None:
        return None
    algorithm = "sha256" if len(like) == 64 else "sha1"
    return hashlib.new(algorithm, b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
