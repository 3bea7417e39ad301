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

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), doc="The project; it has one such row."
    )
    auth_type: Mapped[str] = mapped_column(
        Word("oauth", "token", "app", "deploy_key"),
        doc="The kind: the row with the same key in the table of that kind says more.",
    )
    created_by: Mapped[str] = mapped_column(doc="Who gave them.")
    last_validated_at: Mapped[datetime | None] = mapped_column(doc="When they were last tried on the forge.")
    validation_status: Mapped[str] = mapped_column(
        Word("pending", "valid", "invalid", "expiring"), default="pending", doc="What came of it."
    )
    validation_message: Mapped[str | None] = mapped_column(doc="What came of it, for people.")
    expires_at: Mapped[datetime | None] = mapped_column(doc="When they end.")
    renew_at: Mapped[datetime | None] = mapped_column(doc="When the Secret in the cluster is written anew.")


def _main() -> Mapped[uuid.UUID]:
    return mapped_column(
        sa.ForeignKey("project_git_auth.id", ondelete="CASCADE"), unique=True, doc="The main row; one each."
    )


class ProjectGitAuthOauth(Row, Base):
    """Credentials by a person's connection to the forge."""

    __tablename__ = "project_git_auth_oauth"

    auth_id: Mapped[uuid.UUID] = _main()
    connection_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey(
            "git_platform_connections.id", ondelete="RESTRICT", name="fk_project_git_auth_oauth_connection_id"
        ),
        index=True,
        doc="The connection whose token is used.",
    )


class ProjectGitAuthToken(Row, Base):
    """Credentials by a token, sealed."""

    __tablename__ = "project_git_auth_token"

    auth_id: Mapped[uuid.UUID] = _main()
    token_type: Mapped[str] = mapped_column(Word("pat", "project", "group"), doc="What kind of token the forge made.")
    username: Mapped[str | None] = mapped_column(doc="The name that Git says with it.")
    token_sealed: Mapped[str] = mapped_column(doc="The token, sealed to this row.")


class ProjectGitAuthApp(Row, Base):
    """Credentials by an app's installation; its short-lived tokens are asked for when they are needed, never kept."""

    __tablename__ = "project_git_auth_app"

    auth_id: Mapped[uuid.UUID] = _main()
    app_type: Mapped[str] = mapped_column(Word("github_app", "gitlab_app"), doc="Whose app it is.")
    app_id: Mapped[str] = mapped_column(doc="The forge's id of the app.")
    installation_id: Mapped[str | None] = mapped_column(doc="The forge's id of its installation at the owner.")


class ProjectGitAuthDeployKey(Row, Base):
    """Credentials by a read-only SSH key that Sluice made; its private half is sealed."""

    __tablename__ = "project_git_auth_deploy_key"

    auth_id: Mapped[uuid.UUID] = _main()
    public_key: Mapped[str] = mapped_column(doc="The public half, as the forge has it.")
    private_key_sealed: Mapped[str] = mapped_column(doc="The private half, sealed to this row.")
    forge_key_id: Mapped[str | None] = mapped_column(doc="The forge's id of it; empty until the forge has it.")
    fingerprint: Mapped[str] = mapped_column(doc="The public half's SHA-256, as ssh-keygen shows it.")
