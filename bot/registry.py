"""What plug-ins declare, and how they are found."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from bot.core.errors import ConfigError
from bot.core.ports import Forge

F = TypeVar("F", bound=type)

_forges: dict[str, type[Forge]] = {}


def forge(name: str) -> Callable[[F], F]:
    """Class decorator: this is the forge called `name` (in URLs, settings and rows)."""

    def declare(cls: F) -> F:
        _claim(_forges, "forge", name, cls)
        cls.name = name  # type: ignore[attr-defined]
        return cls

    return declare


def forges() -> Mapping[str, type[Forge]]:
    """The forges declared so far, by name; call `discover("bot.forges")` first."""
    return MappingProxyType(_forges)


def discover(package: str) -> None:
    """Import every module of `package`, so that what it declares is known. Calling it again does no harm."""
    found = importlib.import_module(package)
    for module in pkgutil.iter_modules(found.__path__):
        importlib.import_module(f"{package}.{module.name}")


def _claim(table: dict[str, type], kind: str, name: str, thing: type) -> None:
    """Enter `thing` under `name`; ConfigError when another module had that name. A reload is no second claim."""
    other = table.get(name)
    if other is not None and (other.__module__, other.__qualname__) != (thing.__module__, thing.__qualname__):
        raise ConfigError(f"two modules claim the {kind} {name!r}: {other.__module__} and {thing.__module__}")
    table[name] = thing
