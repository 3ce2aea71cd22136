"""The limits on keys and values, at their exact edges."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.refusal import Refusal, shown
from core.values import INT64, MAX_STRING, Weight, check_values


def refusal(values: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check_values(values)
    return caught.value


def nested(depth: int) -> dict[str, Any]:
    return {"k": 1} if depth == 1 else {"k": nested(depth - 1)}


def test_depth() -> None:
    assert check_values(nested(4)) == Weight(4, 0)
    told = refusal(nested(5))
    assert (told.code, told.detail) == ("too_deep", "'k/k/k/k' nests deeper than 4 objects")
    assert refusal({"k": {"k": {"k": {"k": {}}}}}).code == "too_deep"


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_keys_are_counted_at_every_depth(depth: int) -> None:
    values = nested(depth)
    values |= {f"k{n}": n for n in range(256 - depth)}
    assert check_values(values).keys == 256
    values["more"] = 1
    told = refusal(values)
    assert (told.code, told.detail) == ("too_many_keys", "257 keys in one reading; the limit is 256")


@pytest.mark.parametrize("char", ["x", "é", "€", "😀"])  # 1 to 4 bytes of UTF-8
def test_a_string_is_measured_in_bytes(char: str) -> None:
    width = len(char.encode())
    fits = char * (MAX_STRING // width) + "x" * (MAX_STRING % width)
    assert len(fits.encode()) == 1024
    check_values({"k": fits, fits: 1})
    told = refusal({"k": {"k": fits + "x"}})
    assert (told.code, told.detail) == ("string_too_long", "'k/k' holds 1025 bytes; the limit is 1024")
    assert refusal({fits + "x": 1}).code == "bad_key"


@pytest.mark.parametrize("number", [INT64 - 1, -INT64, 0])
def test_whole_numbers_within_64_bits_stay_whole(number: int) -> None:
    values = {"k": number}
    check_values(values)
    assert type(values["k"]) is int


@pytest.mark.parametrize("number", [INT64, -INT64 - 1, 10**308])
def test_whole_numbers_beyond_64_bits_become_floats_at_any_depth(number: int) -> None:
    values: dict[str, Any] = {"k": number, "deep": {"k": number}}
    check_values(values)
    assert values == {"k": float(number), "deep": {"k": float(number)}}
    assert type(values["k"]) is type(values["deep"]["k"]) is float


@pytest.mark.parametrize("number", [10**309, -(10**309), 10**4000])
def test_whole_numbers_beyond_any_float_are_refused(number: int) -> None:
    assert refusal({"deep": {"k": number}}).detail == "'deep/k' is a number beyond 1.8e308"


@pytest.mark.parametrize(
    ("key", "told"),
    [("", "a key is empty"), ("a.b", "holds '.'"), ("$set", "holds '$'"), ("a\0", "holds NUL")],
)
def test_keys_that_a_document_cannot_have(key: str, told: str) -> None:
    for values in ({key: 1}, {"deep": {key: 1}}, {"fine": 1, key: {}}):
        found = refusal(values)
        assert found.code == "bad_key"
        assert told in found.detail
    assert refusal({key: 1}).code == "bad_key", "also the second time, when the key is known"


@pytest.mark.parametrize(
    ("value", "told"), [(None, "'k' is null"), ([], "'k' is an array"), (b"", "'k' is bytes")]
)
def test_values_that_are_no_values(value: object, told: str) -> None:
    assert (refusal({"k": value}).code, refusal({"k": value}).detail) == ("bad_value", told)


@given(
    st.recursive(
        st.dictionaries(st.text("ab:", min_size=1), st.text("ab:") | st.integers(), max_size=4),
        lambda inner: st.dictionaries(st.text("ab:", min_size=1), inner, max_size=3),
        max_leaves=4,
    )
)
def test_the_weight_is_that_of_a_naive_count(values: dict[str, Any]) -> None:
    keys, colons = naive(values)
    try:
        assert check_values(values) == Weight(keys, colons)
    except Refusal as refused:
        code = refused.code
    else:
        code = ""
    assert (code == "too_deep") == (depth_of(values) > 4)


def naive(values: dict[str, Any]) -> tuple[int, int]:
    keys = colons = 0
    for key, value in values.items():
        inner = naive(value) if isinstance(value, dict) else (0, str(value).count(":"))
        keys, colons = keys + 1 + inner[0], colons + key.count(":") + inner[1]
    return keys, colons


def depth_of(values: dict[str, Any]) -> int:
    return 1 + max((depth_of(value) for value in values.values() if isinstance(value, dict)), default=0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (None, "None"),
        (1.5, "1.5"),
        ("x" * 62, f"'{'x' * 62}'"),
        ("x" * 63, f"'{'x' * 60}..."),
        ([[]], "an array"),
        ({}, "an object"),
    ],
)
def test_what_a_message_shows_of_a_value_is_short(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 64
