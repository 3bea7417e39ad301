"""The rights and policies of `deploy/`, which are a part of the program."""

from pathlib import Path
from typing import Any

import yaml

RIGHTS, POLICIES = "rbac.yaml", "policies.yaml"

_INSTALLED = Path(__file__).parent / "deploy"
_CHECKOUT = Path(__file__).parents[2] / "deploy"


def manifests(name: str) -> list[dict[str, Any]]:
    """The objects of one of the files."""
    folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    return [each for each in yaml.safe_load_all((folder / name).read_text(encoding="utf-8")) if each]
