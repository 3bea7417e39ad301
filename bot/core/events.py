"""What happened on a forge, in words that no forge owns."""

import msgspec


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """One Git repository as a payload names it. `id` is the forge's own, as text; `clone_url` is HTTP(S)."""

    forge: str
    id: str
    full_name: str
    default_branch: str
    clone_url: str
    html_url: str
    private: bool = False

    @property
    def owner(self) -> str:
        """The organization or person that the repository belongs to."""
        return self.full_name.split("/", 1)[0]


class Pushed(msgspec.Struct, frozen=True, kw_only=True, tag="pushed"):
    """A branch moved. `before` is None for a new branch, `after` is None for a deleted one. Tags are no branches."""

    repository: Repository
    branch: str
    before: str | None
    after: str | None
    forced: bool
    actor: str


class PullRequestChanged(msgspec.Struct, frozen=True, kw_only=True, tag="pull_request"):
    """A pull request was opened, got commits (`synchronized`), was reopened or closed."""

    repository: Repository
    action: str  # opened | synchronized | reopened | closed
    number: int
    head: str
    head_branch: str
    head_repository_id: str | None  # differs from repository.id for a fork; None when the fork is gone
    base_branch: str
    author: str
    merged: bool
    actor: str


class Commented(msgspec.Struct, frozen=True, kw_only=True, tag="commented"):
    """Somebody wrote a new comment on a pull request. Edits and deletions are not events for us."""

    repository: Repository
    number: int
    comment_id: str
    body: str
    actor: str
    actor_is_bot: bool


Event = Pushed | PullRequestChanged | Commented
