"""HOST:PORT as people and peers write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import join_address, split_address
from protocol.errors import InvalidRequest


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":7337", "host:0", "host:65536", "host:-1", "host:７３３７", "a b:1", "a/b:1", "u@h:1", "::1:7337", "[host]:1",
     "[::1]", "h" * 256 + ":1", "h\x00:1", "h\n.x:1", "host:7337:1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequest, match="HOST:PORT"):
        split_address(text)


@given(st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z0-9][a-z0-9.-]{0,60}", fullmatch=True)), st.integers(1, 65_535))
def test_addresses_survive_the_round_trip(host: str, port: int) -> None:
    assert split_address(f" {join_address(host, port)}\n") == (host, port)
