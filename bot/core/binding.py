"""What a deployment and its approvals are bound to: when any of it moves, they mean nothing any more."""

import hashlib
from collections.abc import Sequence

import msgspec

from bot.core.deployments import short
from bot.core.rules import Rules


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The commit, and the digests of all that decides what it becomes and who may let it.

    `prunes` is what somebody confirmed that goes with it: who approves, approves that too.
    `take_over`: an admin said that it may force what others own.
    """

    commit: str
    inputs: str
    config: str  # of `configuration()`
    policy: str
    prunes: tuple[str, ...] = ()
    take_over: bool = False


def configuration(spec: str, rules: Rules) -> str:
    """The digest of an environment's configuration: what Flux is told, and the rules in force."""
    return _digest({"spec": spec, "rules": rules})


def chain(parts: Parts) -> str:
    """SHA-256 over the parts: stored on the deployment and on each approval."""
    return _digest(parts)


def moved(old: Parts, new: Parts) -> list[str]:
    """What moved, in words."""
    heads = f"the commit ({short(old.commit)} → {short(new.commit)})"
    words = {"commit": heads, "inputs": "the inputs", "config": "the configuration", "policy": "the operator's policy"}
    return [word for field, word in words.items() if getattr(old, field) != getattr(new, field)]


def moved_text(what: Sequence[str], again: str) -> str:
    """What moved and what to write now, for people."""
    listed = " and ".join([", ".join(what[:-1]), what[-1]] if len(what) > 1 else what)
    verb = "have" if len(what) > 1 or what[0].endswith("s") else "has"
    return f"{listed} {verb} moved since it was asked for, and the approvals are void; {again}"


def _digest(data: object) -> str:
    return hashlib.sha256(msgspec.json.encode(data, order="sorted")).hexdigest()
