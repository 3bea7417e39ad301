"""Edits that people ask for in a comment: on the environment's branch, or proposed where that is protected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bot.committing import Change, Committer
from bot.context import Context
from bot.core import edits
from bot.core.conversation import code, escape, plain
from bot.core.deployments import short
from bot.core.edits import Edited, Image, Scope, Setting
from bot.core.errors import UserError
from bot.core.ports import Tree, TreeEntry
from bot.store.deployments import Place

EDIT, REVERT = "sluice/edit", "sluice/revert"  # branches of ours that are proposed to be merged
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody wants to be different in an environment's files."""

    images: tuple[Image, ...] = ()
    settings: tuple[Setting, ...] = ()

    @property
    def title(self) -> str:
        """In one line, without any value: those are anybody's words, and forges act on some."""
        names = [f"{each.name} {each.tag or each.digest or each.new_name}" for each in self.images]
        return plain(", ".join([*names, *(each.shown for each in self.settings)]), 60)


@dataclass(frozen=True, kw_only=True)
class Done:
    """Where the edit is: on the environment's branch at `commit`, or proposed by a pull request. `made`: by us now."""

    commit: str | None
    pull_request: int | None = None
    made: bool = True


def wish(images: Sequence[str], settings: Sequence[str]) -> Wish | None:
    """What the words of a command want; None when they want no edit; UserError usage."""
    if not images and not settings:
        return None
    return Wish(
        images=tuple(edits.parse_image(each) for each in images),
        settings=tuple(edits.parse_setting(each) for each in settings),
    )


async def edit(ctx: Context, where: Place, wanted: Wish) -> Done:
    """Commit the edit on the head of the environment's branch, as often as that moves; never over anybody's work.

    Where the forge refuses that, the branch is protected: the edit is proposed by a pull request, which the same run
    opens once.
    """
    editor = _Editor(ctx, where, wanted)
    try:
        done = await editor.committer.rewrite(editor.branch, editor.branch, editor.write)
    except UserError as error:
        if error.code != "forge_refused":
            raise
        return await editor.propose(error)
    return Done(commit=done.commit, made=done.made)


@dataclass(frozen=True)
class _Editor:
    """One wish for one environment, written on whatever head there is."""

    ctx: Context
    where: Place
    wanted: Wish
    onto: str = ""  # a branch of ours, where the environment's own is protected

    @property
    def branch(self) -> str:
        return self.where.environment.branch

    @property
    def committer(self) -> Committer:
        return _committer(self.ctx, self.where)

    async def write(self, base: str) -> Change:
        """The change at a commit."""
        name, forge = self.ctx.repository.full_name, self.ctx.forge
        tree = await forge.tree(name, base)
        _must_be_whole(tree)
        scope = _scope(self.where)
        paths = edits.wanted(tree, scope, self.wanted.settings)
        files = {path: await forge.blob(name, tree.entries[path].oid) for path in paths}
        found = edits.edited(files, scope, self.wanted.images, self.wanted.settings)
        edits.no_lookalikes(tree, found.files)
        return Change(
            branch=self.onto or self.branch,
            start=self.branch,
            files=found.files,
            message=_message(f"Set {self.wanted.title} in {self.where.title}", found.changes),
            was={path: tree.entries[path].oid for path in found.files},
            trailers=_trailers(self.ctx),
        )

    async def propose(self, refused: UserError) -> Done:
        """A pull request with the edit; the forge's own refusal, if not even that can be."""
        onto = f"{EDIT}/{_short_name(self.where)}-{self.ctx.run.id.hex[:8]}"
        proposing = replace(self, onto=onto)
        try:
            done = await proposing.committer.rewrite(onto, self.branch, proposing.write)
            if not done.made:
                return Done(commit=done.commit, made=False)
            change = Change(branch=onto, start=self.branch, files={}, message="")
            title = f"Set {self.wanted.title} in {self.where.title}"
            number = await proposing.committer.proposed(change, done, title, self._body())
        except UserError as error:
            raise refused if error.code == "forge_refused" else error from None
        return Done(commit=None, pull_request=number)

    def _body(self) -> str:
        command, by = code(f"/deploy {self.where.title}"), escape(self.ctx.run.actor)
        return (
            f"{by} asked for this with {command}. {code(self.branch)} is protected, so it is proposed here; nothing "
            "is deployed by it. Merge it, and deploy what comes of it."
        )


async def revert(ctx: Context, where: Place, commit: str) -> int | None:
    """Propose to have the environment's path as it was at a commit; None when it is so already.

    UserError edit_unsupported where a link or a submodule is in the way.
    """
    name, forge, branch = ctx.repository.full_name, ctx.forge, where.environment.branch
    old = _below(await forge.tree(name, commit), where.environment.path)
    onto = f"{REVERT}/{_short_name(where)}-{ctx.run.id.hex[:8]}"

    async def write(base: str) -> Change:
        now = _below(await forge.tree(name, base), where.environment.path)
        paths = sorted(path for path in {*old, *now} if old.get(path) != now.get(path))
        odd = [path for path in paths if _is_odd(old.get(path)) or _is_odd(now.get(path))]
        if odd:
            raise UserError("edit_unsupported", f"{code(odd[0], 120)} is a link or a submodule")
        files = {path: await forge.blob(name, old[path].oid) if path in old else None for path in paths}
        return Change(
            branch=onto,
            start=branch,
            files=files,
            message=f"Have {where.title} as it was at {short(commit)}",
            was={path: now[path].oid for path in paths if path in now},
            trailers=_trailers(ctx),
        )

    done = await _committer(ctx, where).rewrite(onto, branch, write)
    if not done.made:
        return None
    title = f"Have {where.title} as it was at {short(commit)}"
    change = Change(branch=onto, start=branch, files={}, message="")
    return await _committer(ctx, where).proposed(change, done, title, _why(ctx, where, commit))


def _why(ctx: Context, where: Place, commit: str) -> str:
    return (
        f"{escape(ctx.run.actor)} rolled {code(where.title)} back to {short(commit)}. This has "
        f"{code(where.environment.path)} on {code(where.environment.branch)} say the same; nothing else is touched."
    )


def _committer(ctx: Context, where: Place) -> Committer:
    return Committer(ctx.store, ctx.forge, ctx.repository, ctx.run.id, where.project.id)


def _scope(where: Place) -> Scope:
    helm = where.environment.config.get("helm") or {}
    return Scope(root=where.environment.path.strip("/"), values=tuple(helm.get("values", ())))


def _short_name(where: Place) -> str:
    return f"{where.project.slug}-{where.environment.name}"[:60].lower()


def _below(tree: Tree, root: str) -> Mapping[str, TreeEntry]:
    """The files of the environment's path."""
    _must_be_whole(tree)
    below = root.strip("/") + "/"
    return {
        path: entry
        for path, entry in tree.entries.items()
        if entry.kind != "tree" and (path.startswith(below) or below in ("/", "./"))
    }


def _must_be_whole(tree: Tree) -> None:
    if tree.truncated:
        raise UserError("tree_truncated", "the forge does not list all files of this repository")


def _is_odd(entry: TreeEntry | None) -> bool:
    return entry is not None and (entry.kind != "blob" or entry.is_link)


def _message(title: str, changes: Sequence[Edited]) -> str:
    """What a commit says: which files, and where in them."""
    lines = [f"- {each.file}, {each.what}" for each in changes[:SHOWN]]
    more = [f"- and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
    return "\n".join([title, "", *lines, *more])


def _trailers(ctx: Context) -> tuple[str, ...]:
    """Who asked for it, as far as the forge told whose account that is."""
    login, id = ctx.run.actor, ctx.call.actor_id
    if not id or not login.isprintable() or set("<>") & set(login):
        return ()
    return (f"Co-authored-by: {login} <{ctx.forge.mail_of(login, id)}>",)
