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

    provider: Mapped[str] = mapped_column(doc="The forge that knows the account.")
    provider_account_id: Mapped[str] = mapped_column(doc="The forge's own id of the account: names change, ids do not.")
    username: Mapped[str] = mapped_column(doc="The login.")
    display_name: Mapped[str | None] = mapped_column(doc="The name that people read.")
    email: Mapped[str | None] = mapped_column(doc="The address that the forge shows.")
    avatar_url: Mapped[str | None] = mapped_column(doc="The address of the picture.")
    last_seen_at: Mapped[datetime | None] = mapped_column(doc="When the account last did something here.")


class Membership(Row, Base):
    """A person's role in an organization, for the API and pages only: commands ask the forge."""

    __tablename__ = "memberships"
    __table_args__ = (sa.UniqueConstraint("organization_id", "user_id"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("organizations.id", ondelete="CASCADE"), doc="The organization."
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True, doc="The person."
    )
    role: Mapped[str] = mapped_column(
        Word("viewer", "deployer", "approver", "admin"), doc="What the person may do there."
    )


class GitPlatformConnection(Row, Base):
    """An account on a Git server that Sluice may act with; without user it is the bot's own. Its tokens are sealed."""

    __tablename__ = "git_platform_connections"
    __table_args__ = (
        sa.UniqueConstraint(
            "provider", "server_url", "provider_account_id", name="uq_git_platform_connections_account"
        ),
        sa.Index(None, "status", "expires_at"),
    )

    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True, doc="Whose it is; empty: the bot's own."
    )
    provider: Mapped[str] = mapped_column(doc="The kind of forge.")
    server_url: Mapped[str] = mapped_column(doc="The address of the forge.")
    server_type: Mapped[str] = mapped_column(
        Word("cloud", "self-hosted"), doc="Whether the forge is the vendor's or somebody's own."
    )
    provider_account_id: Mapped[str] = mapped_column(doc="The forge's own id of the account.")
    username: Mapped[str] = mapped_column(doc="The account's login.")
    email: Mapped[str | None] = mapped_column(doc="The account's address.")
    avatar_url: Mapped[str | None] = mapped_column(doc="The address of the account's picture.")
    access_token_sealed: Mapped[str | None] = mapped_column(doc="The access token, sealed to this row.")
    refresh_token_sealed: Mapped[str | None] = mapped_column(doc="The refresh token, sealed to this row.")
    expires_at: Mapped[datetime | None] = mapped_column(doc="When the access token ends.")
    status: Mapped[str] = mapped_column(
        Word("active", "expired", "revoked"),
        default="active",
        doc="Whether it can be used; an expired one is asked for again.",
    )
    purpose: Mapped[str] = mapped_column(
        Word("auth", "integration", "both"), doc="What it is for: to log in, to act, or both."
    )
    connected_at: Mapped[datetime] = mapped_column(doc="When the person connected it.")
    last_sync_at: Mapped[datetime | None] = mapped_column(doc="When the account's data were last read.")
    details: Mapped[dict[str, Any]] = mapped_column(
        "metadata", default=dict, doc="What else the forge told of the account."
    )
