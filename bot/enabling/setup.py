"""What the steps of a project share: read anew whenever the run is taken up, so that nothing hangs on a process."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bot import adopting
from bot.adopting import Adopted
from bot.context import Context
from bot.core import repoconfig
from bot.core.errors import UserError
from bot.store import projects
from bot.store.deployments import Place
from models import Project


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the default branch says of one project, and which of its environments are asked for, by their position."""

    project: repoconfig.Project
    head: str
    configured: bool  # by a file; else it has the environments that every repository has
    asked: Mapping[int, repoconfig.Environment]

    @property
    def clusters(self) -> Sequence[str]:
        """The clusters that it goes to."""
        return list(dict.fromkeys(each.cluster for each in self.asked.values()))

    @property
    def fetching(self) -> Sequence[str]:
        """The clusters where Flux fetches this repository for Sluice."""
        fetched = [each for each in self.asked.values() if each.adopt is None and not each.elsewhere]
        return list(dict.fromkeys(each.cluster for each in fetched))

    @property
    def git(self) -> str | None:
        """The kind of credentials that all its environments are fetched with; None: what the operator set up."""
        return next((each.git for each in self.asked.values()), None)

    @property
    def branches(self) -> Sequence[str]:
        """The branches that are to be followed."""
        return list(dict.fromkeys(each.branch for each in self.asked.values()))

    @property
    def basis(self) -> str:
        """A digest of all that a step's result depends on, but for the commits."""
        said = msgspec.json.encode([self.project, list(self.asked)], order="deterministic")
        return hashlib.sha256(said).hexdigest()[:16]


@dataclass(frozen=True)
class Setup:
    """One project that is being enabled by a run. `found` is an error where the configuration could not be read.

    With `scaffold` the folders that are missing are proposed in a pull request; with `take_over` fields are forced that
    others own.
    """

    ctx: Context
    project: Project
    found: Wanted | UserError
    scaffold: bool = False
    take_over: bool = False

    @property
    def wanted(self) -> Wanted:
        """What is to be set up; what is wrong with the configuration is raised."""
        if isinstance(self.found, UserError):
            raise self.found
        return self.found

    async def places(self) -> list[Place]:
        """The environments that are asked for, as rows."""
        async with self.ctx.store.read() as session:
            several = len(await projects.of_repository(session, self.ctx.repository.id)) > 1
            rows = [
                await projects.environment_named(session, self.project.id, each.name)
                for each in self.wanted.asked.values()
            ]
        return [Place(self.ctx.repository, self.project, row, several) for row in rows if row is not None]

    async def adopted(self) -> dict[str, Adopted]:
        """What is there of the environments that others keep, by name; UserError if one of them may not be adopted."""
        return {
            each.name: await adopting.look(self.ctx.cluster(each.cluster), self.ctx.repository, each.adopt)
            for each in self.wanted.asked.values()
            if each.adopt is not None
        }

    async def heads(self) -> dict[str, str]:
        """The head of each branch that is to be followed, as it is now."""
        return {branch: await branch_head(self.ctx, branch) for branch in self.wanted.branches}


async def branch_head(ctx: Context, branch: str) -> str:
    """A branch's head; UserError branch_missing if there is no such branch."""
    head = await ctx.forge.branch_head(ctx.repository.full_name, branch)
    if head is None:
        raise UserError("branch_missing", f"the branch `{branch}` does not exist")
    return head
