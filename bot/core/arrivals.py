"""What is to be done when a branch or a pull request is not as it was: calls, keyed so that each is made once."""

from uuid import UUID

from bot.core.calls import Call

FOLLOW, REOPEN, STIRRED, CHECKED = "follow", "reopen", "stirred", "checked"


def follow_call(
    forge: str, repository: str, branch: str, commit: str, environment: UUID, newest: int, *, actor: str, actor_id: str
) -> Call:
    """Bring a head to an environment.

    Keyed by the newest number that the environment had then, so that going back to an older commit is news again.
    """
    return Call(
        kind="work",
        name=FOLLOW,
        key=f"{forge}:{repository}:refs/heads/{branch}:{commit}:{environment}:{newest}",
        actor=actor,
        actor_id=actor_id,
        arguments={"branch": branch, "commit": commit, "environment": str(environment)},
    )


def reopen_call(
    forge: str, repository: str, branch: str, environment: UUID, newest: int, *, actor: str, actor_id: str
) -> Call:
    """Bring the branch's newest revision to an environment once more; once for what had taken its place."""
    return Call(
        kind="work",
        name=REOPEN,
        key=f"{forge}:{repository}:reopen:{environment}:{newest}",
        actor=actor,
        actor_id=actor_id,
        arguments={"branch": branch, "environment": str(environment)},
    )


def stirred_call(forge: str, repository: str, number: int, key: str, actor: str) -> Call:
    """Look again at what waits for a pull request that was moved, reviewed or made a draft."""
    return Call(
        kind="work",
        name=STIRRED,
        key=f"{forge}:{repository}:pull:{number}:stirred:{key}",
        actor=actor,
        arguments={"number": number},
    )


def checked_call(forge: str, repository: str, commit: str, name: str, actor: str) -> Call:
    """Look again at what waits for a check that ended on a commit."""
    return Call(
        kind="work",
        name=CHECKED,
        key=f"{forge}:{repository}:commit:{commit}:checked:{name}",
        actor=actor,
        arguments={"commit": commit, "name": name},
    )
