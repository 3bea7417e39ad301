"""Files of values: put together as Helm does, and refused with their place where they are none."""

import pytest

from bot.core.errors import UserError
from bot.core.values import MOST, merged


def test_the_last_one_wins_in_each_map() -> None:
    first = ("a.yaml", b"image: {name: web, tag: 1}\nhosts: [a, b]\n")
    second = ("b.yaml", b"image: {tag: 2}\nhosts: [c]\nx: null\n")
    assert merged([first, second]) == {"image": {"name": "web", "tag": 2}, "hosts": ["c"], "x": None}
    assert merged([]) == merged([("empty.yaml", b""), ("null.yaml", b"~\n")]) == {}


def test_a_date_is_a_text() -> None:
    assert merged([("a.yaml", b"day: 2026-11-22\nat: 2026-11-22T10:00:00Z\n")]) == {
        "day": "2026-11-22",
        "at": "2026-11-22T10:00:00Z",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- a\n", "a mapping is needed"),
        (b"text\n", "a mapping is needed"),
        (b"a: [\n", "values.yaml:2:1"),
        (b"1: a\n", "has a key that is no text"),
        (b"a: {1: b}\n", "has a key that is no text"),
        (b"a: !!binary aGk=\n", "neither text"),
        (b"a: .inf\n", "neither text"),
        (b"a: !other x\n", "values.yaml"),
        (b"a: \xff\n", "not UTF-8"),
    ],
)
def test_what_holds_none(content: bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        merged([("values.yaml", content)])
    assert caught.value.code == "values_invalid"
    assert "values.yaml" in caught.value.message
    assert said in caught.value.message


def test_much_of_little() -> None:
    """Aliases of aliases would need all the memory there is."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(UserError, match=f"{MOST:,}"):
        merged([("values.yaml", "\n".join(lines).encode())])
