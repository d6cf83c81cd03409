"""What a founder settles for a swarm for good: the embedder of its memory, in which every memory's keys are computed.

The pin is an extension of the swarm's root certificate (`PIN`, not critical, a UTF8String). A join token names the root's key and the
root is signed by that key (`identity.check_root`), so a joiner reads the founder's own word: no member and no keeper can change it, and
it lies with the other identity files. A root without one is of a swarm that was founded before there were pins, or the open swarm: both
use hashed words, which every node has.

The full name is pinned (`minilm-l6-v2`), people type and read the short one (`minilm`). A name that this version does not know is kept
as it is: such a node cannot use the swarm's memory, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from cryptography import x509

from protocol.identity import load_certificate

PIN: Final = x509.ObjectIdentifier("2.25.212694136470431872503284069171205347843")
"""Under the arc of numbers that anybody may draw at random (ITU-T X.667)."""
WORDS: Final = "hashed-words-1"
MINILM: Final = "minilm-l6-v2"
Choice = Literal["words", "minilm"]
FULL: Final[dict[Choice, str]] = {"words": WORDS, "minilm": MINILM}
MAX_NAME = 32

_UTF8_STRING = 0x0C
_name = re.compile(rb"[a-z0-9][a-z0-9.-]*")


def pin_of(embedder: str) -> Sequence[x509.ExtensionType]:
    """What `identity.issue_root` writes into a root that pins this embedder (its full name); nothing for words."""
    if embedder == WORDS:
        return ()
    data = embedder.encode("ascii")
    assert len(data) <= MAX_NAME
    assert _name.fullmatch(data)
    return (x509.UnrecognizedExtension(PIN, bytes([_UTF8_STRING, len(data)]) + data),)


def pinned_embedder(root: bytes) -> str:
    """The full name of the embedder that a root certificate (DER) pins. A pin of no form is none of ours: words."""
    try:
        found = load_certificate(root).extensions.get_extension_for_oid(PIN).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return WORDS
    data = found.value if isinstance(found, x509.UnrecognizedExtension) else b""
    name = data[2:]
    if data[:2] != bytes([_UTF8_STRING, len(name)]) or len(name) > MAX_NAME or not _name.fullmatch(name):
        return WORDS
    return name.decode("ascii")


def short(embedder: str) -> str:
    """What people call it; an unknown one by its full name."""
    return next((brief for brief, full in FULL.items() if full == embedder), embedder)
