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
    """A branch moved. `before` is None for a new branch, `after` is None for a deleted one. Tags are no branches.

    Here and below, `actor_id` is the account's number as text; "" where the forge does not tell whose it was.
    """

    repository: Repository
    branch: str
    before: str | None
    after: str | None
    forced: bool
    actor: str
    actor_id: str = ""


class PullRequestChanged(msgspec.Struct, frozen=True, kw_only=True, tag="pull_request"):
    """A pull request was opened, got commits (`synchronized`), was reopened or closed.

    Or it was made a draft (`drafted`) or no draft any more (`ready`), or got another base branch (`retargeted`).
    """

    repository: Repository
    action: str  # opened | synchronized | reopened | closed | drafted | ready | retargeted
    number: int
    head: str
    head_branch: str
    head_repository_id: str | None  # differs from repository.id for a fork; None when the fork is gone
    base_branch: str
    author: str
    merged: bool
    actor: str
    actor_id: str = ""
    author_id: str = ""
    draft: bool = False


class Commented(msgspec.Struct, frozen=True, kw_only=True, tag="commented"):
    """Somebody wrote a new comment on a pull request, or (then `commit` is given) on a commit.

    Edits and deletions are not events for us.
    """

    repository: Repository
    number: int | None
    comment_id: str
    body: str
    actor: str
    actor_is_bot: bool
    actor_id: str = ""
    commit: str | None = None


class Reviewed(msgspec.Struct, frozen=True, kw_only=True, tag="reviewed"):
    """Somebody approved a pull request with the forge's own review, or asked for changes.

    Or a review was `dismissed`; then the actor is who did that. Gitea tells of no dismissal, and neither which review
    it was nor of which commit: both are None, and `Forge.reviews` knows.
    """

    repository: Repository
    number: int
    review_id: str | None
    commit: str | None
    verdict: str  # approved | changes_requested | dismissed
    actor: str
    actor_is_bot: bool
    actor_id: str = ""


class Checked(msgspec.Struct, frozen=True, kw_only=True, tag="checked"):
    """A check of somebody else's came to its end on a commit: a status, or a check run. `name` is what configs say."""

    repository: Repository
    commit: str
    name: str
    state: str  # success | failure
    actor: str


class Pressed(msgspec.Struct, frozen=True, kw_only=True, tag="pressed"):
    """Somebody pressed a button below a check of ours. `key` is what the check was about when they saw it."""

    repository: Repository
    commit: str
    name: str
    check_id: str
    key: str
    button: str  # approve | reject | again
    actor: str
    actor_is_bot: bool
    actor_id: str = ""


Event = Pushed | PullRequestChanged | Commented | Reviewed | Checked | Pressed
