"""Signatures of webhooks: what is accepted, and everything that is not."""

import hashlib
import hmac
import random

import pytest

from bot.forges.gitea import Gitea
from bot.forges.github import GitHub
from bot.forges.signatures import sign, signed

BODY = b'{"ref": "refs/heads/main"}\n'
OLD, NEW = b"old secret", b"new secret"
GOOD = hmac.new(NEW, BODY, hashlib.sha256).hexdigest()
OTHER = hmac.new(b"stranger", BODY, hashlib.sha256).hexdigest()
SHA1 = hmac.new(NEW, BODY, hashlib.sha1).hexdigest()

TABLE = [
    ("right", GOOD, True),
    ("right in capitals", GOOD.upper(), True),
    ("rotation partner", hmac.new(OLD, BODY, hashlib.sha256).hexdigest(), True),
    ("another secret", OTHER, False),
    ("empty", "", False),
    ("too short", GOOD[:-1], False),
    ("too long", GOOD + "0", False),
    ("line end", GOOD + "\n", False),
    ("spaces", f" {GOOD} ", False),
    ("not hex", "g" * 64, False),
    ("not ASCII", "ä" * 64, False),
    ("digits that are no hex", "٣" * 64, False),
    ("surrogates", "\udc80" * 64, False),
    ("two values", f"{GOOD}, {GOOD}", False),
    ("two values, one of them wrong", f"{OTHER},{GOOD}", False),
    ("SHA-1", SHA1, False),
    ("of another body", hmac.new(NEW, BODY[:-1], hashlib.sha256).hexdigest(), False),
]


@pytest.mark.parametrize(("name", "digits", "accepted"), TABLE, ids=[row[0] for row in TABLE])
def test_signatures(name: str, digits: str, accepted: bool) -> None:
    github, gitea = GitHub(), Gitea("https://gitea.example.test")
    assert github.verify({"x-hub-signature-256": f"sha256={digits}"}, BODY, [NEW, OLD]) is accepted
    assert gitea.verify({"x-gitea-signature": digits}, BODY, [NEW, OLD]) is accepted
    assert gitea.verify({"x-forgejo-signature": digits}, BODY, [NEW, OLD]) is accepted


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature": f"sha1={SHA1}"},
        {"x-hub-signature-256": f"sha1={SHA1}"},
        {"x-hub-signature-256": GOOD},
        {"x-hub-signature-256": f"SHA256={GOOD}"},
        {"x-hub-signature-256": f"sha256={GOOD}, sha256={GOOD}"},
        {"x-hub-signature-256": f"sha256=sha256={GOOD}"},
        {"x-gitea-signature": GOOD},
    ],
)
def test_github_takes_its_own_header_in_its_own_form_only(headers: dict[str, str]) -> None:
    assert GitHub().verify(headers, BODY, [NEW]) is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": f"sha256={GOOD}"},
        {"x-gitea-signature": f"sha256={GOOD}"},
        {"x-gitea-signature": GOOD, "x-forgejo-signature": OTHER},
        {"x-gitea-signature": "", "x-forgejo-signature": GOOD},
        {"x-gogs-signature": GOOD},
    ],
)
def test_gitea_takes_its_own_headers_only(headers: dict[str, str]) -> None:
    assert Gitea("https://gitea.example.test").verify(headers, BODY, [NEW]) is False


def test_forgejo_sends_both() -> None:
    headers = {"x-gitea-signature": GOOD, "x-forgejo-signature": GOOD}
    assert Gitea("https://gitea.example.test").verify(headers, BODY, [NEW])


def test_no_secret_and_an_empty_secret_accept_nothing() -> None:
    assert signed(BODY, sign(BODY, b""), []) is False
    assert signed(BODY, sign(BODY, b""), [b""]) is False
    assert signed(BODY, sign(BODY, NEW), [b"", NEW]) is True


def test_random_headers_are_refused_and_never_an_error() -> None:
    chance = random.Random(4)
    for _ in range(5_000):
        text = "".join(chr(chance.choice((chance.randrange(32, 127), chance.randrange(0x3000)))) for _ in range(64))
        digits = "".join(chance.choice("0123456789abcdef") for _ in range(64))
        assert not signed(BODY, f"sha256={text}", [NEW])
        assert not signed(BODY, f"sha256={digits}", [NEW])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("72d3162e-cc78-11e3", "72d3162e-cc78-11e3"),
        (None, None),
        ("", None),
        ("x" * 129, None),
        ("ä", None),
        ("\0", None),
    ],
)
def test_delivery_ids(value: str | None, expected: str | None) -> None:
    for forge, name in (
        (GitHub(), "x-github-delivery"),
        (Gitea("https://gitea.example.test"), "x-gitea-delivery"),
        (Gitea("https://gitea.example.test"), "x-forgejo-delivery"),
    ):
        assert forge.delivery_key({} if value is None else {name: value}) == expected


def test_each_forge_reads_its_own_event_header() -> None:
    """Gitea sends GitHub's headers beside its own."""
    headers = {"x-github-event": "push", "x-github-delivery": "1"}
    assert Gitea("https://gitea.example.test").event_name(headers) is None
    assert Gitea("https://gitea.example.test").delivery_key(headers) is None
    assert GitHub().event_name({"x-gitea-event": "push"}) is None
    assert GitHub().event_name(headers) == "push"
    assert Gitea("https://gitea.example.test").event_name({"x-forgejo-event": "push"}) == "push"
