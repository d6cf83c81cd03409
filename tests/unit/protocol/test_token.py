"""Join tokens as text, durations, and when a keeper honours a token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest, NotAuthorised
from protocol.identity import SwarmId
from protocol.token import (
    SECRET_BYTES,
    TOKEN_ID_BYTES,
    Token,
    TokenEntry,
    hash_secret,
    parse_duration,
    parse_token,
    parse_token_id,
    refusal,
    show_token_id,
)

TOKEN = Token(SwarmId(bytes(range(20))), b"token", b"a secret of 20 bytes")


@pytest.mark.parametrize(
    "text",
    ["", "moot1", "hello", "moot2-" + TOKEN.show()[6:], TOKEN.show()[:-1], TOKEN.show() + "a", TOKEN.show() + "-x",
     TOKEN.show()[:-8] + "01890189", "moot1---", "moot1-é-é-é", TOKEN.show().replace("-", "")],
)  # fmt: skip
def test_what_is_no_token_is_refused_with_the_remedy_and_never_quoted(text: str) -> None:
    with pytest.raises(NotAuthorised, match="moot token create") as caught:
        parse_token(text)
    assert len(text) < 9 or text[-8:] not in str(caught.value)


def test_second_spelling_of_the_same_bytes_is_refused() -> None:
    text = show_token_id(b"token")
    assert parse_token_id(text.upper()) == b"token"
    for twisted in (TOKEN.show()[:37] + "b", text[:-1], text + "aaaaaaaa", "01890189", "é"):
        with pytest.raises(InvalidRequest, match="token ls"):
            parse_token_id(twisted)


@given(
    st.binary(min_size=20, max_size=20),
    st.binary(min_size=TOKEN_ID_BYTES, max_size=TOKEN_ID_BYTES),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
)
def test_tokens_survive_the_round_trip_in_any_case_and_with_space_around(swarm: bytes, token_id: bytes, secret: bytes) -> None:
    token = Token(SwarmId(swarm), token_id, secret)
    text = token.show()
    assert text.count("-") == 3
    assert text == text.lower()
    assert parse_token(text) == parse_token(f"  {text.upper()}\n") == token


def test_printing_a_token_object_hides_its_secret() -> None:
    assert TOKEN.show().split("-")[3] not in repr(TOKEN)
    assert "secret" not in repr(TOKEN)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("5m", 300), ("1h", 3600), ("2d", 172_800), (" 90S ", 90)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "0s", "1w", "1h30m", "9" * 20 + "s", "1 h"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidRequest, match="90s, 5m, 1h or 2d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("entry", "secret", "now", "expected"),
    [
        (None, b"s", 0.0, "unknown"),
        ((100.0, 1), b"x", 0.0, "wrong"),
        ((100.0, 0), b"x", 500.0, "wrong"),
        ((100.0, 1), b"s", 100.0, "expired"),
        ((100.0, 0), b"s", 99.0, "used up"),
        ((100.0, 1), b"s", 99.9, None),
    ],
)
def test_refusals_in_their_order(entry: tuple[float, int] | None, secret: bytes, now: float, expected: str | None) -> None:
    kept = TokenEntry(b"token", hash_secret(b"s"), 0.0, *entry) if entry is not None else None
    assert refusal(kept, secret, now) == expected
