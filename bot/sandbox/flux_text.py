"""Go's durations, and the names of objects as Flux writes them."""

from __future__ import annotations

import re

from bot.sandbox.cluster_errors import Json

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")


def seconds(text: str) -> float:
    """`1h30m` → 5400.0."""
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def duration(value: float) -> str:
    """As Go prints a duration: `5m0s`, `1.5s`, `250ms`."""
    if value <= 0:
        return "0s"
    for unit, size in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if value < size * 1000:
            return f"{_number(value / size)}{unit}"
    minutes, rest = divmod(value, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{_number(rest)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def named(obj: Json) -> str:
    """`Deployment/web-production/web`."""
    meta = obj["metadata"]
    return "/".join(part for part in (obj["kind"], meta.get("namespace"), meta["name"]) if part)
