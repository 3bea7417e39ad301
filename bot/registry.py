"""What plug-ins declare: forges, commands, work and events, one file each; a name claimed twice stops the start."""

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec

from bot.context import Context
from bot.core.arguments import explain, usage
from bot.core.calls import Call
from bot.core.errors import ConfigError, UserError
from bot.core.events import Event
from bot.core.results import Result
from bot.core.roles import Role

PLUGINS = ("bot.forges", "handlers.commands", "handlers.events")

Handler = Callable[[Context, Any], Awaitable[Result]]
Calls = Callable[[Any], list[Call]]
AnyHandler = TypeVar("AnyHandler", bound=Handler)
AnyCalls = TypeVar("AnyCalls", bound=Calls)
AnyClass = TypeVar("AnyClass", bound=type)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A slash command: its docstring is its help, the fields of `arguments` are its usage."""

    name: str
    needs: Role
    on: frozenset[str]  # states of the pull request: open | merged | closed
    arguments: type[msgspec.Struct]
    handler: Handler
    asks_environments: bool = False  # about forks: each has its own word on them

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.handler) or "").split("\n", 1)[0]

    @property
    def usage(self) -> str:
        """How it is written."""
        return usage(self.name, self.arguments)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something that an event asks for, without a person's command."""

    name: str
    arguments: type[msgspec.Struct]
    handler: Handler


_forges: dict[str, Any] = {}
_commands: dict[str, Command] = {}
_works: dict[str, Work] = {}
_events: dict[type, Calls] = {}


def forge(name: str) -> Callable[[AnyClass], AnyClass]:
    """Class decorator: this is the forge called `name` (in URLs, settings and rows); it fulfils core.ports.Forge."""

    def declare(adapter: AnyClass) -> AnyClass:
        _claim(_forges, "forge", name, adapter, adapter)
        adapter.name = name  # type: ignore[attr-defined]
        return adapter

    return declare


def command(
    name: str, *, needs: Role, on: tuple[str, ...] = ("open", "merged"), asks_environments: bool = False
) -> Callable[[AnyHandler], AnyHandler]:
    """Declare a slash command: `async def name(ctx, args: Args) -> Result`.

    On a request from a fork it is refused, unless it asks the environments' rules itself.
    """

    def declare(handler: AnyHandler) -> AnyHandler:
        made = Command(
            name=name,
            needs=needs,
            on=frozenset(on),
            arguments=_arguments(handler),
            handler=handler,
            asks_environments=asks_environments,
        )
        _claim(_commands, "command", name, made, handler)
        return handler

    return declare


def work(name: str) -> Callable[[AnyHandler], AnyHandler]:
    """Declare work that an event asks for: `async def name(ctx, args: Args) -> Result`."""

    def declare(handler: AnyHandler) -> AnyHandler:
        _claim(_works, "work", name, Work(name=name, arguments=_arguments(handler), handler=handler), handler)
        return handler

    return declare


def event(kind: type) -> Callable[[AnyCalls], AnyCalls]:
    """Declare what an event asks for: a pure function from the event to its calls."""

    def declare(calls: AnyCalls) -> AnyCalls:
        _claim(_events, "event", kind, calls, calls)
        return calls

    return declare


def forges() -> Mapping[str, Any]:
    """The forge adapters by name."""
    discover()
    return dict(sorted(_forges.items()))


def commands() -> Mapping[str, Command]:
    """The slash commands by name."""
    discover()
    return dict(sorted(_commands.items()))


def works() -> Mapping[str, Work]:
    """The kinds of work by name."""
    discover()
    return _works


def calls_of(told: Event) -> list[Call]:
    """What an event asks for."""
    discover()
    found = _events.get(type(told))
    return found(told) if found else []


def help_text(name: str | None = None) -> str:
    """All commands in a line each, or one of them whole; as Markdown."""
    known = commands()
    if name is None:
        lines = [f"- `{each.usage}` — {each.summary} (needs: {_needs(each)})" for each in known.values()]
        return "\n".join([*lines, "", "`/help COMMAND` tells more."])
    found = known.get(name.lstrip("/"))
    if found is None:
        raise UserError("unknown_command", f"there is no such command; there are {', '.join(f'`/{n}`' for n in known)}")
    arguments = "".join(f"\n- `{shown}` {description}" for shown, description in explain(found.arguments))
    return f"`{found.usage}` (needs: {_needs(found)})\n\n{inspect.getdoc(found.handler)}\n{arguments}".rstrip()


@cache
def discover() -> None:
    """Import every plug-in, once."""
    for name in PLUGINS:
        package = importlib.import_module(name)
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(found.name)


def _needs(command: Command) -> str:
    return "nothing" if command.needs is Role.NONE else command.needs.label


def _arguments(handler: Handler) -> type[msgspec.Struct]:
    struct: type[msgspec.Struct] = inspect.get_annotations(handler, eval_str=True)["args"]
    return struct


def _claim(table: dict[Any, Any], kind: str, name: Any, value: Any, source: Any) -> None:
    """Enter a plug-in under its name; ConfigError when another one has that name. A reload is no second claim."""
    known: Any = getattr(table.get(name), "handler", table.get(name))
    if known is not None and (known.__module__, known.__qualname__) != (source.__module__, source.__qualname__):
        raise ConfigError(f"two plug-ins claim the {kind} {name!r}: {known.__module__} and {source.__module__}")
    table[name] = value
