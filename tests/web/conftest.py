"""Databases for the tests of this folder."""

from tests.postgres import database_url, migrated_url, postgres_url

__all__ = ["database_url", "migrated_url", "postgres_url"]
