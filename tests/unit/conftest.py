"""Every test on SQLite and on PostgreSQL, where it asks for a database."""

from tests.postgres import database_url, migrated_url

__all__ = ["database_url", "migrated_url"]
