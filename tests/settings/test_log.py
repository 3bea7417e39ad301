"""Logs: JSON lines without secrets."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from bot import log

SECRET = "planted-secret-value"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged since the start, in JSON."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    log.configure([SECRET], stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line(lines: Lines) -> None:
    """Text, level, logger, time and what was given."""
    log.get("bot.test").info("a thing happened", number=3, path=b"a/b")

    [line] = lines()
    assert (line["event"], line["level"], line["logger"]) == ("a thing happened", "info", "bot.test")
    assert (line["number"], line["path"]) == (3, "a/b")
    assert line["timestamp"].endswith("Z")


def test_known_values_are_taken_out_everywhere(lines: Lines) -> None:
    """In texts, nested values, keys, exceptions and the lines of other libraries."""
    logger = log.get("bot.test")
    logger.info(
        f"with {SECRET} inside", deep={"list": [SECRET, {SECRET: b"x" + SECRET.encode()}]}, thing=ValueError(SECRET)
    )
    try:
        raise ValueError(f"no {SECRET}")
    except ValueError:
        logger.exception("it broke")
    logging.getLogger("another.library").warning("says %s", SECRET)

    assert SECRET not in json.dumps(lines())
    assert len(lines()) == 3
    assert "ValueError: no [redacted]" in lines()[1]["exception"]
    assert lines()[2]["event"] == "says [redacted]"


@pytest.mark.parametrize(
    "name", ["token", "git_token", "Authorization", "x-hub-signature-256", "webhook_secret", "password", "set-cookie"]
)
def test_names_that_speak_of_secrets(lines: Lines, name: str) -> None:
    """Their values are never shown, known or not, at any depth."""
    log.get("bot.test").info("request", **{name: "never seen before"}, headers={name: "never seen before"})

    assert "never seen before" not in json.dumps(lines())


@pytest.mark.parametrize(
    "text",
    [
        "https://user:planted@host/x",
        "Authorization: Bearer planted.planted",
        "ghp_plantedplantedplantedplanted",
        "github_pat_plantedplantedplanted",
        "glpat-plantedplantedplanted",
    ],
)
def test_shapes_of_secrets(lines: Lines, text: str) -> None:
    """A token that nobody told us of is known by its shape."""
    log.get("bot.test").info("said", words=f"it was {text}")

    assert "planted" not in json.dumps(lines())


def test_people_get_readable_lines() -> None:
    """On a terminal there is no JSON, and still no secret."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    log.configure([SECRET], stream=stream, colour=True)
    log.get("bot.test").warning("a thing", words=SECRET)
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()

    assert "a thing" in stream.getvalue()
    assert SECRET not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_secrets_learned_later(lines: Lines) -> None:
    """A secret that is made while the server runs can be told to the redactor; short words cannot."""
    redactor = log.Redactor()
    redactor.remember(["learned-later", "on"])

    assert redactor.text("learned-later goes on") == "[redacted] goes on"
