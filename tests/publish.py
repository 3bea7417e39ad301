"""Writes what is published of the code: the schemas, the tables of fields in docs/config.md, the life of a deployment.

`python -m tests.publish` writes it; the tests fail when it is stale.
"""

import re
from pathlib import Path

from bot.core import config_fields, lifecycle, policy_fields, schemas
from bot.core.fields import Fields

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {
    "config": config_fields.CONFIG,
    "project": config_fields.PROJECT,
    "environment": config_fields.ENVIRONMENT,
    "kustomization": config_fields.KUSTOMIZATION,
    "helm": config_fields.HELM,
    "chart": config_fields.CHART,
    "policy": policy_fields.POLICY,
    "rule": policy_fields.RULE,
}
LIFE = re.compile(r"(<!-- lifecycle -->\n).*?(<!-- end -->)", re.S)
TABLE = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.S)


def published() -> dict[Path, str]:
    """What each published file should hold."""
    page, deployments = DOCS / "config.md", DOCS / "deployments.md"
    life = f"\n```mermaid\n{lifecycle.diagram()}\n```\n\n{lifecycle.table()}\n\n"
    return {
        DOCS / "sluice.schema.json": schemas.text(schemas.config()),
        DOCS / "policy.schema.json": schemas.text(schemas.policy()),
        page: TABLE.sub(lambda found: f"{found[1]}\n{_table(TABLES[found[2]])}\n{found[3]}", page.read_text()),
        deployments: LIFE.sub(lambda found: found[1] + life + found[2], deployments.read_text()),
    }


def _table(fields: Fields) -> str:
    rows = ["| field | | default | example |", "|---|---|---|---|"]
    for name, field in fields.fields.items():
        default = "required" if field.required else field.default
        example = f"`{field.example}`" if field.example else ""
        rows.append(f"| `{name}` | {_cell(field.doc)} | {_cell(default)} | {_cell(example)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for path, text in published().items():
        path.write_text(text)
