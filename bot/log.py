"""Logs: one JSON object a line (coloured on a terminal), and nothing secret in them."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

REDACTED = "[redacted]"
SECRET_NAME = re.compile(r"secret|token|password|passwd|authorization|signature|cookie|private.?key|api.?key", re.I)
SECRET_SHAPES = re.compile(
    r"(?P<keep>://[^/\s:@]*:)[^/\s@]+(?=@)"  # a password in a URL
    r"|(?P<scheme>\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.I | re.S,
)
SHORTEST_KNOWN = 6  # shorter ones would blot out ordinary words


class Redactor:
    """A structlog processor that takes out what must not be shown: by name, by value and by shape."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.known: list[str] = []
        self.remember(secrets)

    def remember(self, secrets: Iterable[str]) -> None:
        """Take these values out from now on, longest first so that a part never uncovers the rest."""
        found = {*self.known, *(secret for secret in secrets if len(secret) >= SHORTEST_KNOWN)}
        self.known = sorted(found, key=len, reverse=True)

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in event.items():
            event[name] = self.clean(value, name)
        return event

    def clean(self, value: Any, name: str = "") -> Any:
        """The value as it may be shown."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if SECRET_NAME.search(name):
            return REDACTED
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.clean(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(inner) for inner in value]
        return self.text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in self.known:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return SECRET_SHAPES.sub(lambda m: (m["keep"] or m["scheme"] or "") + REDACTED, text)


def configure(
    secrets: Iterable[str] = (), *, level: str = "INFO", stream: TextIO | None = None, colour: bool | None = None
) -> Redactor:
    """Send the logs of Sluice and of its libraries to `stream` (standard error); returns the redactor in charge."""
    stream = stream or sys.stderr
    redactor = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redactor,
    ]
    for_people = stream.isatty() if colour is None else colour
    renderer: Any = structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("aiosqlite", "asyncio", "alembic", "uvicorn.access", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return redactor


def get(name: str) -> Any:
    """A logger: `log.info("what happened", key=value)`."""
    return structlog.get_logger(name)
