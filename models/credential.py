"""What Flux fetches a project's repository with: one main row, and the one row of its kind."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class ProjectGitAuth(Row, Base):
    """The credentials of a project: their kind, whether they were found to work, and when they are renewed."""

    __tablename__ = "project_git_auth"
    __table_args__ = (sa.UniqueConstraint("project_id"), sa.Index(None, "validation_status", "renew_at"))

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    auth_type: Mapped[str] = mapped_column(Word("oauth", "token", "app", "deploy_key"))
    created_by: Mapped[str]
    last_validated_at: Mapped[datetime | None]
    validation_status: Mapped[str] = mapped_column(Word("pending", "valid", "invalid", "expiring"), default="pending")
    validation_message: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    renew_at: Mapped[datetime | None]


def _main() -> Mapped[uuid.UUID]:
    return mapped_column(sa.ForeignKey("project_git_auth.id", ondelete="CASCADE"), unique=True)


class ProjectGitAuthOauth(Row, Base):
    """Credentials by a person's connection to the forge."""

    __tablename__ = "project_git_auth_oauth"

    auth_id: Mapped[uuid.UUID] = _main()
    connection_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey(
            "git_platform_connections.id", ondelete="RESTRICT", name="fk_project_git_auth_oauth_connection_id"
        ),
        index=True,
    )


class ProjectGitAuthToken(Row, Base):
    """Credentials by a token, sealed."""

    __tablename__ = "project_git_auth_token"

    auth_id: Mapped[uuid.UUID] = _main()
    token_type: Mapped[str] = mapped_column(Word("pat", "project", "group"))
    username: Mapped[str | None]
    token_sealed: Mapped[str]


class ProjectGitAuthApp(Row, Base):
    """Credentials by an app's installation; its short-lived tokens are asked for when they are needed, never kept."""

    __tablename__ = "project_git_auth_app"

    auth_id: Mapped[uuid.UUID] = _main()
    app_type: Mapped[str] = mapped_column(Word("github_app", "gitlab_app"))
    app_id: Mapped[str]
    installation_id: Mapped[str | None]


class ProjectGitAuthDeployKey(Row, Base):
    """Credentials by a read-only SSH key that Sluice made; its private half is sealed."""

    __tablename__ = "project_git_auth_deploy_key"

    auth_id: Mapped[uuid.UUID] = _main()
    public_key: Mapped[str]
    private_key_sealed: Mapped[str]
    forge_key_id: Mapped[str | None]
    fingerprint: Mapped[str]
