"""Which of two sightings of an object is the newer: several observers tell, and what was asked for may come late."""

from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = "version"  # in a row's config: the resource version that it tells of, of the object or of its end


class Sighting(msgspec.Struct, frozen=True):
    """An object at one instant; without a uid it was gone. The API server counts versions up, whatever changes."""

    uid: str | None
    version: str | None


def noted(uid: str | None, config: Mapping[str, Any]) -> Sighting:
    """What a row tells of."""
    return Sighting(uid, config.get(VERSION))


def is_late(seen: Sighting, known: Sighting) -> bool:
    """Whether what is told now was overtaken: the row tells something newer, or that this very state is gone."""
    if known.version is None or is_newer(seen, known):
        return False
    return seen != known


def is_newer(seen: Sighting, known: Sighting) -> bool:
    """Whether one is newer than the other. Where versions are not numbers, what is told last counts."""
    return has_reached(seen.version, known.version) and seen.version != known.version


def has_reached(version: str | None, wanted: str | None) -> bool:
    """Whether a version is the wanted one, or one after it."""
    if wanted is None or version == wanted:
        return True
    if version is None:
        return False
    return int(version) > int(wanted) if version.isdecimal() and wanted.isdecimal() else True
