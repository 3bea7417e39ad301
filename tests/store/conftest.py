"""Databases for the tests of this folder."""

from tests.plans import plans
from tests.postgres import database_url, migrated_url, postgres_url

__all__ = ["database_url", "migrated_url", "plans", "postgres_url"]
