"""Registers webhooks at the forges: each has its own address, and a secret that derives from the newest key."""

import sqlalchemy as sa

from bot.core.errors import ConfigError
from bot.core.ports import Forge
from bot.core.ports import Hook as Registered
from bot.settings import Settings
from bot.store.database import Database
from models import Hook, Repository


def require(settings: Settings) -> str:
    """Where Sluice is reached; ConfigError where that, or a key for the secrets, is not set."""
    if settings.public_url is None or not settings.secret_keys:
        raise ConfigError("set SLUICE_PUBLIC_URL and SLUICE_SECRET_KEYS first: the hook's address and secret need them")
    return settings.public_url.rstrip("/")


async def register(
    settings: Settings, database: Database, adapter: Forge, repository: Repository, hook: Hook
) -> Registered:
    """Register a webhook, or bring it up to date; its row is there, so that its deliveries are known."""
    url = f"{require(settings)}/webhooks/{repository.provider}/{hook.id}"
    made = await adapter.register_hook(repository.full_name, url, settings.hook_secrets(hook.id)[0].decode())
    async with database.write() as session:
        await session.execute(sa.update(Hook).where(Hook.id == hook.id).values(forge_hook_id=made.id, status="active"))
    return made
