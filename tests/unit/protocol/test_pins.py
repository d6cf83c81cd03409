"""What a founder settles: it is read from the root, it is signed, and what is no pin of ours means words."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadSignature
from protocol.identity import NodeKey, check_root, issue_root, open_swarm, swarm_id_of
from protocol.pins import MINILM, PIN, WORDS, pin_of, pinned_embedder, short

KEY = NodeKey.from_seed(b"r" * 32)


def root_with(*extensions: x509.ExtensionType) -> bytes:
    return issue_root(KEY, serial=1, now=1_800_000_000.0, extensions=extensions)


def test_a_changed_pin_breaks_the_roots_signature_though_the_swarms_id_stays() -> None:
    root = root_with(*pin_of(MINILM))
    changed = root.replace(b"minilm-l6-v2", b"minilm-l6-v3")
    assert swarm_id_of(changed) == swarm_id_of(root)
    with pytest.raises(BadSignature, match="not signed by the swarm's key"):
        check_root(changed)
    check_root(root)


@pytest.mark.parametrize("root", [root_with(), open_swarm()[2]])
def test_a_root_from_before_there_were_pins_means_words(root: bytes) -> None:
    check_root(root)
    assert pinned_embedder(root) == WORDS


@given(st.binary(max_size=64))
def test_an_extension_of_no_form_means_words_and_never_fails(value: bytes) -> None:
    found = pinned_embedder(root_with(x509.UnrecognizedExtension(PIN, value)))
    assert found == WORDS or (value[0] == 0x0C and found.encode() == value[2:])


@given(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,31}", fullmatch=True))
def test_a_pin_comes_back_and_an_unknown_one_keeps_its_name(name: str) -> None:
    root = root_with(*pin_of(name))
    check_root(root)
    assert pinned_embedder(root) == name


def test_people_read_short_names() -> None:
    assert [short(name) for name in (WORDS, MINILM, "later-9")] == ["words", "minilm", "later-9"]
