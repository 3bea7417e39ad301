"""The published JSON Schemas of the files that people write, made from the fields that the parsers read."""

from collections.abc import Mapping

import msgspec

from bot.core import config_fields, policy_fields
from bot.core.fields import Kind, Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config() -> Schema:
    """Of `.sluice.yaml`."""
    title = "Sluice: what a repository deploys, and where"
    return _published(title, config_fields.CONFIG, config_fields.DEFINITIONS)


def policy() -> Schema:
    """Of the operator's policy, `SLUICE_POLICY_FILE`."""
    title = "Sluice: what repositories may do in the operator's clusters"
    return _published(title, policy_fields.POLICY, policy_fields.DEFINITIONS)


PUBLISHED = {"config": config, "policy": policy}


def text(schema: Schema) -> str:
    """A schema as it is printed and kept in docs/."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _published(title: str, kind: Kind, definitions: Mapping[str, Kind]) -> Schema:
    defined = {name: each.schema() for name, each in definitions.items()}
    return {"$schema": DIALECT, "title": title, **kind.schema(), "$defs": defined}
