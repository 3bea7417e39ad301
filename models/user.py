"""People and their accounts on forges."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class User(Row, Base):
    """A person, by the account that a forge knows them by."""

    __tablename__ = "users"
    __table_args__ = (sa.UniqueConstraint("provider", "provider_account_id"),)

    provider: Mapped[str]
    provider_account_id: Mapped[str]
    username: Mapped[str]
    display_name: Mapped[str | None]
    email: Mapped[str | None]
    avatar_url: Mapped[str | None]
    last_seen_at: Mapped[datetime | None]


class Membership(Row, Base):
    """A person's role in an organization, for the API and pages only: commands ask the forge."""

    __tablename__ = "memberships"
    __table_args__ = (sa.UniqueConstraint("organization_id", "user_id"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(Word("viewer", "deployer", "approver", "admin"))


class GitPlatformConnection(Row, Base):
    """An account on a Git server that Sluice may act with; without user it is the bot's own. Its tokens are sealed."""

    __tablename__ = "git_platform_connections"
    __table_args__ = (
        sa.UniqueConstraint(
            "provider", "server_url", "provider_account_id", name="uq_git_platform_connections_account"
        ),
        sa.Index(None, "status", "expires_at"),
    )

    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    server_url: Mapped[str]
    server_type: Mapped[str] = mapped_column(Word("cloud", "self-hosted"))
    provider_account_id: Mapped[str]
    username: Mapped[str]
    email: Mapped[str | None]
    avatar_url: Mapped[str | None]
    access_token_sealed: Mapped[str | None]
    refresh_token_sealed: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(Word("active", "expired", "revoked"), default="active")
    purpose: Mapped[str] = mapped_column(Word("auth", "integration", "both"))
    connected_at: Mapped[datetime]
    last_sync_at: Mapped[datetime | None]
    details: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
