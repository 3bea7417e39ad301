"""The published schemas: up to date, and of one mind with the parsers."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core import policy, schemas
from bot.core.errors import UserError
from bot.core.repoconfig import parse
from tests.publish import DOCS, published

CORPUS = sorted((Path(__file__).parent.parent / "corpus/config").glob("*.yaml"))
GOOD = [path for path in CORPUS if path.name.startswith("good-")]
BAD = [path for path in CORPUS if path.name.startswith("bad-")]
UNTOLD = " (the schema cannot tell)"


def validator(schema: Any) -> jsonschema.Draft202012Validator:
    """In JSON Schema `$` is the very end of a text; in Python's patterns a newline may follow."""
    return jsonschema.Draft202012Validator(_ecma(schema))


def _ecma(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            key: value.replace("$", r"\Z") if key == "pattern" and isinstance(value, str) else _ecma(value)
            for key, value in part.items()
        }
    return [_ecma(each) for each in part] if isinstance(part, list) else part


CONFIG = validator(schemas.config())
POLICY = validator(schemas.policy())
# What a schema cannot say: what several fields say together, sums, time zones.
ONLY_THE_PARSER = re.compile(
    r"between 1s and 168h|no time zone|in a circle|names no environment|is the target of|chart\.name|several projects|"
    r'is adopted as|cannot stand beside|must stand below|must not read git-credentials|must say "\*"'
)


def refusal(content: bytes) -> str | None:
    try:
        parse(content, "main", "acme/shop")
    except UserError as error:
        return error.message
    return None


@pytest.mark.parametrize("path", published(), ids=lambda path: path.name)
def test_what_is_published_is_up_to_date(path: Path) -> None:
    """`python -m tests.publish` writes it."""
    assert path.read_text() == published()[path]


def test_the_schemas_are_schemas() -> None:
    for schema in (schemas.config(), schemas.policy()):
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_is_good_to_both(path: Path) -> None:
    assert refusal(path.read_bytes()) is None
    CONFIG.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_bad_to_both(path: Path) -> None:
    """Its first line says what the parser says of it, and whether the schema can tell."""
    first = path.read_text().splitlines()[0].removeprefix("# ")
    message = refusal(path.read_bytes())
    assert message is not None
    assert message.startswith(f".sluice.yaml {first.removesuffix(UNTOLD)}")
    assert CONFIG.is_valid(yaml.safe_load(path.read_text())) == first.endswith(UNTOLD)


def test_the_page_of_the_docs_holds_good_files() -> None:
    """Every YAML block in docs/config.md is one that Sluice takes."""
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "config.md").read_text(), re.S)
    assert len(blocks) == 3
    for block in blocks:
        if "repositories:" in block:
            policy.parse(block.encode(), "policy.yaml")
            POLICY.validate(yaml.safe_load(block))
        else:
            assert refusal(block.encode()) is None
            CONFIG.validate(yaml.safe_load(block))


# Files that nobody thought of.

WORDS = st.sampled_from(
    [
        *(
            "a",
            "b",
            "web",
            "main",
            "A b",
            "",
            "x/y",
            "../x",
            "/x",
            "a//b",
            "sluice/keep/x",
            "10m",
            "0s",
            "1d",
            "team:a/b",
        ),
        *("user:alice", "role:write", "role:x", "merged", "pull_request", "deploy_key", "flux-system/web", "x" * 300),
        *("Fri 16:00 - Mon 08:00 UTC", "Fri 16:00 - Mon 08:00 Mars/Olympus", "https://charts.example.org", "6.x"),
        *("oci://a/b", "https://u:p@a", "project-0123abcd", "ci/test", "a\u202eb", "a\nb", "a..b", "kube-system"),
    ]
)
VALUES = st.recursive(
    WORDS | st.booleans() | st.none() | st.integers(-2, 22) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def some(kind: Any) -> st.SearchStrategy[Any]:
    """What a schema asks for, mostly."""
    kind = {"$ref": kind["$ref"], **schemas.config()["$defs"][kind["$ref"][8:]]} if "$ref" in kind else kind
    if "anyOf" in kind:
        return st.one_of(*(some(each) for each in kind["anyOf"]))
    if "properties" in kind:
        known = {name: some(each) for name, each in kind["properties"].items()}
        names = st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True)
        return names.flatmap(lambda chosen: st.fixed_dictionaries({name: known[name] for name in chosen}))
    if "propertyNames" in kind:
        return st.dictionaries(st.sampled_from(["a", "b", "web", "A"]), some(kind["additionalProperties"]), max_size=3)
    if kind.get("type") == "array" and "items" in kind:
        examples = st.sampled_from(kind.get("examples", [[]]))
        return st.one_of(examples, examples, examples, st.lists(some(kind["items"]), max_size=3))
    if "const" in kind:
        return st.just(kind["const"])
    usual = st.sampled_from(kind.get("examples", ["a"]))
    return st.one_of(usual, usual, usual, usual, WORDS | VALUES)


@settings(deadline=None)
@given(some(schemas.config()).map(lambda file: {"version": 1, **file}))
def test_the_schema_and_the_parser_agree(file: Any) -> None:
    """What the schema refuses the parser refuses; what only the parser refuses is what no schema can say."""
    message = refusal(yaml.safe_dump(file, allow_unicode=True).encode())
    if not CONFIG.is_valid(file):
        assert message is not None
    elif message is not None:
        assert ONLY_THE_PARSER.search(message), message
