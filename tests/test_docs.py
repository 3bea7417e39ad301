"""The documentation says what the code says."""

import re
from pathlib import Path

from bot import settings

ROOT = Path(__file__).parent.parent
RAISED = re.compile(r"""(?:UserError|refused|refuses|Fail|_unclear)\(\s*(?:base,\s*)?"([a-z_]+)\"""")
GIVEN = re.compile(r"""(?:code|reason)="([a-z_]+)\"""")


def codes_in_the_code() -> set[str]:
    """Every reason code that is written out in the program, outside the web."""
    found = set()
    for folder in ("bot", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            if "sandbox" in path.parts or "web" in path.parts:
                continue
            text = path.read_text()
            found |= set(RAISED.findall(text)) | set(GIVEN.findall(text))
    return found


def test_every_reason_code_is_explained() -> None:
    """docs/reason-codes.md lists what the code raises."""
    explained = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/reason-codes.md").read_text()))
    missing = codes_in_the_code() - explained
    assert not missing


def test_nothing_is_explained_that_does_not_exist() -> None:
    """docs/reason-codes.md lists nothing else in its first column."""
    explained = set()
    for line in (ROOT / "docs/reason-codes.md").read_text().splitlines():
        if line.startswith("| `"):
            explained |= set(re.findall(r"`([a-z_]+)`", line.split("|")[1]))
    sources = "".join(path.read_text() for folder in ("bot", "handlers") for path in (ROOT / folder).rglob("*.py"))
    assert {code for code in explained if f'"{code}"' not in sources} == set()


def test_every_setting_is_described() -> None:
    """`sluice settings` has a meaning for each setting."""
    assert all(each.meaning for each in settings.describe())
