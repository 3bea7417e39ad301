"""Roles, from what a forge calls access."""

from enum import IntEnum


class Role(IntEnum):
    """What a person may do in a repository; a higher role may do everything a lower one may."""

    NONE = 0
    VIEWER = 1
    DEPLOYER = 2
    APPROVER = 3
    ADMIN = 4

    @property
    def label(self) -> str:
        """The word that people read."""
        return self.name.lower()


def open_to_forks(needed: Role, *, asks_environments: bool) -> bool:
    """Whether a command runs on requests from forks: if it needs no role, or each environment decides on it."""
    return needed is Role.NONE or asks_environments


def refusal(needed: Role, has: Role) -> str | None:
    """Why somebody with `has` may not do what needs `needed`; None if they may."""
    if has >= needed:
        return None
    return f"this needs the role {needed.label}; you have {'none' if has is Role.NONE else has.label}"
