"""Sealing: what was sealed opens in its place, with its key, unchanged; and nothing shows it otherwise."""

import traceback
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.sealing import Keyring, SealBroken, key_id_of

OLD, NEW = b"o" * 32, b"n" * 40
ROW = uuid.UUID("11111111-1111-4111-8111-111111111111")
OTHER = uuid.UUID("22222222-2222-4222-8222-222222222222")
PLACE = {"table": "project_git_auth_token", "column": "token_sealed"}
SECRET = "a-very-secret-token"


@given(st.text())
def test_what_was_sealed_opens(text: str) -> None:
    keys = Keyring([NEW])
    assert keys.open(keys.seal(text, row=ROW, **PLACE), row=ROW, **PLACE) == text


def test_the_same_text_is_sealed_differently_each_time() -> None:
    keys = Keyring([NEW])
    assert keys.seal(SECRET, row=ROW, **PLACE) != keys.seal(SECRET, row=ROW, **PLACE)


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [
        ("project_git_auth_token", OTHER, "token_sealed"),
        ("git_platform_connections", ROW, "token_sealed"),
        ("project_git_auth_token", ROW, "refresh_token_sealed"),
    ],
)
def test_moved_to_another_place_it_does_not_open(table: str, row: uuid.UUID, column: str) -> None:
    keys = Keyring([NEW])
    sealed = keys.seal(SECRET, row=ROW, **PLACE)
    with pytest.raises(SealBroken, match="changed, or sealed for another place"):
        keys.open(sealed, table=table, row=row, column=column)


def test_each_changed_character_is_noticed() -> None:
    keys = Keyring([NEW])
    sealed = keys.seal(SECRET, row=ROW, **PLACE)
    for at, character in enumerate(sealed):
        for other in "A0v_":
            # The last character of base64 may carry bits that mean nothing; the decoder ignores them.
            if other == character or at == len(sealed) - 1:
                continue
            with pytest.raises(SealBroken):
                keys.open(sealed[:at] + other + sealed[at + 1 :], row=ROW, **PLACE)


@pytest.mark.parametrize("text", ["", "v1", "plain text", "v1.0123456789abcdef.", "v2.0123456789abcdef.AAAA", "v1.x.A"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    keys = Keyring([NEW])
    assert keys.stale(text) is True
    with pytest.raises(SealBroken, match="no sealed value"):
        keys.open(text, row=ROW, **PLACE)


@pytest.mark.parametrize("cut", [1, 15, 16, 30])
def test_a_part_of_it_does_not_open(cut: int) -> None:
    keys = Keyring([NEW])
    sealed = keys.seal(SECRET, row=ROW, **PLACE)
    with pytest.raises(SealBroken):
        keys.open(sealed[: len("v1.0123456789abcdef.") + cut], row=ROW, **PLACE)


def test_several_keys_open_and_the_newest_seals() -> None:
    old, both = Keyring([OLD]), Keyring([NEW, OLD])
    sealed = old.seal(SECRET, row=ROW, **PLACE)
    assert both.open(sealed, row=ROW, **PLACE) == SECRET
    assert both.stale(sealed)
    resealed = both.reseal(sealed, row=ROW, **PLACE)
    assert not both.stale(resealed)
    assert Keyring([NEW]).open(resealed, row=ROW, **PLACE) == SECRET
    assert key_id_of(resealed) == both.newest == Keyring([NEW]).newest != old.newest


def test_a_missing_key_is_named_by_its_id() -> None:
    old, new = Keyring([OLD]), Keyring([NEW])
    with pytest.raises(SealBroken, match=f"sealed with the key {old.newest}; SLUICE_SECRET_KEYS has {new.newest}"):
        new.open(old.seal(SECRET, row=ROW, **PLACE), row=ROW, **PLACE)


def test_a_key_id_of_another_key_does_not_help() -> None:
    """Whoever writes another id onto a value gains nothing: the id is authenticated."""
    old, both = Keyring([OLD]), Keyring([NEW, OLD])
    sealed = old.seal(SECRET, row=ROW, **PLACE)
    with pytest.raises(SealBroken):
        both.open(sealed.replace(old.newest, both.newest), row=ROW, **PLACE)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(SealBroken, match="set SLUICE_SECRET_KEYS"):
        Keyring([]).seal(SECRET, row=ROW, **PLACE)


def test_nothing_secret_is_shown() -> None:
    """Neither a keyring, nor a sealed value, nor an error with its traceback tells a key or the text."""
    keys = Keyring([NEW, OLD])
    sealed = keys.seal(SECRET, row=ROW, **PLACE)
    shown = [repr(keys), str(keys), sealed]
    for ring, row in ((keys, OTHER), (Keyring([b"x" * 32]), ROW)):
        with pytest.raises(SealBroken) as caught:
            ring.open(sealed, row=row, **PLACE)
        shown += [repr(caught.value), *traceback.format_exception(caught.value)]
        assert caught.value.__context__ is None
    secrets = (SECRET, OLD.decode(), NEW.decode(), OLD.hex(), NEW.hex())
    assert not [secret for secret in secrets for text in shown if secret in text]
