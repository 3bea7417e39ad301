"""What a handler may touch: its run, its repository, the forge, the clusters and the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bot.core import policy
from bot.core.calls import Call
from bot.core.errors import UserError
from bot.core.policy import Policy
from bot.core.ports import Cluster, Forge, PullRequest
from bot.core.repoconfig import Environment
from bot.core.roles import Role
from bot.credentials import Credentials
from bot.store.transactions import Store
from models import Repository, Run


def known_as(repository: Repository) -> str:
    """The repository as the operator's policy names it."""
    return f"{repository.provider}:{repository.full_name}"


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run and its surroundings. `pull_request` is as the forge tells it now; None for work without one."""

    store: Store
    forge: Forge
    clusters: Mapping[str, Cluster]
    policy: Policy
    credentials: Credentials
    repository: Repository
    run: Run
    call: Call
    pull_request: PullRequest | None
    help: Callable[[str | None], str]
    role: Role = Role.NONE  # that of a command's author, as the forge told it for this run

    def cluster(self, name: str) -> Cluster:
        """The cluster of that name; UserError cluster_unknown if the operator configured none."""
        if name not in self.clusters:
            known = ", ".join(sorted(self.clusters)) or "none"
            raise UserError("cluster_unknown", f"there is no cluster `{name}`; configured: {known}")
        return self.clusters[name]

    @property
    def policy_digest(self) -> str:
        """What the operator's policy says of this repository."""
        return policy.digest(self.policy, known_as(self.repository))

    def check_policy(self, environments: Sequence[Environment]) -> None:
        """UserError with every reason for which the operator's policy does not allow them."""
        refused = [
            each for wanted in environments for each in policy.refusals(self.policy, known_as(self.repository), wanted)
        ]
        if refused:
            raise UserError(refused[0].code, "; ".join(each.text for each in refused))

    @property
    def is_fork(self) -> bool:
        """Whether the pull request comes from another repository, or from one that nobody can see any more."""
        change = self.pull_request
        return change is not None and not change.comes_from(self.repository.forge_id)

    @property
    def change(self) -> PullRequest:
        """The pull request of a command."""
        if self.pull_request is None:
            raise UserError("no_pull_request", "this works on a pull request only")
        return self.pull_request
