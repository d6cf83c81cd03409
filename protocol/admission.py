"""What a joiner and a keeper say to each other: pure messages and rules, carried by a visit (`node.links.visit`).

    keeper -> joiner    Offer      the swarm's certificates and a nonce
    joiner -> keeper    Request    only after the joiner has checked that the TLS peer is a keeper of the swarm its token names
    keeper -> joiner    Grant | Denial

The request's signature proves that the joiner holds its key and binds the request to this connection (the nonce) and to this
keeper (its TLS certificate, the `tls-server-end-point` binding of RFC 5929), so nobody can pass it on. Renewal is the same without
a token: the visitor's current certificate, verified by TLS, is the proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from protocol.errors import BadSignature, Malformed, TooLarge
from protocol.identity import Credentials, Member, NodeKey, SwarmId, check_root, swarm_id_of, verify, verify_chain
from protocol.token import SECRET_BYTES, TOKEN_ID_BYTES, Token

ADMISSION_VERSION = 1
MAX_MESSAGE = 4_096
"""Bytes of one message."""
MAX_KEEPERS = 8
"""Addresses of keepers that an offer may carry."""
NONCE_BYTES = 32
PROOF_CONTEXT = b"join"

Certificate = Annotated[bytes, Meta(min_length=1, max_length=1_024)]


class Offer(Struct, frozen=True, array_like=True, tag=1):
    """First message of a visit to /join."""

    version: Annotated[int, Meta(ge=0, le=2**31)]
    keeper: Certificate
    """Issuer of the certificate that the listener shows in TLS."""
    root: Certificate
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    keepers: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=MAX_KEEPERS)]
    """Where keepers can be dialled, as far as this node knows: for joiners that reached a plain member."""


class Request(Struct, frozen=True, array_like=True, tag=2):
    """Take me in."""

    token_id: Annotated[bytes, Meta(min_length=TOKEN_ID_BYTES, max_length=TOKEN_ID_BYTES)]
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Grant(Struct, frozen=True, array_like=True, tag=3):
    """A membership certificate and its issuer's."""

    leaf: Certificate
    keeper: Certificate


class Denial(Struct, frozen=True, array_like=True, tag=4):
    """No, and why: `code` is for programs, `message` for people."""

    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
    """Shown on the joiner's terminal, so without control characters."""


Message: TypeAlias = Offer | Request | Grant | Denial

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises `TooLarge` or `Malformed`."""
    if len(data) > MAX_MESSAGE:
        raise TooLarge(f"an admission message of {len(data)} bytes; the limit is {MAX_MESSAGE}")
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"not an admission message: {error}") from error


def check_offer(offer: Offer, certificate: bytes, swarm_id: SwarmId, now: float) -> Member:
    """Who the TLS peer with this certificate is, if it belongs to the swarm `swarm_id`. Raises `BadSignature`."""
    if swarm_id_of(offer.root) != swarm_id:
        raise BadSignature("it belongs to another swarm than the token")
    check_root(offer.root)  # the chain needs its key alone, but what it pins (`protocol.pins`) is believed too
    return verify_chain((certificate, offer.keeper), offer.root, now)


def make_request(token: Token, key: NodeKey, offer: Offer, certificate: bytes) -> Request:
    """Only for a peer that `check_offer` found to be a keeper: this carries the secret."""
    proof = key.sign(PROOF_CONTEXT, _proof(offer.nonce, token.token_id, certificate))
    return Request(token.token_id, token.secret, key.public, proof)


def check_request(request: Request, nonce: bytes, certificate: bytes) -> None:
    """The sender holds the key it wants admitted, and speaks to the owner of `certificate` now. Raises `BadSignature`."""
    verify(request.public_key, request.signature, PROOF_CONTEXT, _proof(nonce, request.token_id, certificate))


def credentials_of(grant: Grant, key: NodeKey, root: bytes, now: float) -> Credentials:
    """A grant's certificates, checked: issued by this swarm, for this key. Raises `BadSignature`."""
    chain: Sequence[bytes] = (grant.leaf, grant.keeper)
    if verify_chain(chain, root, now).public_key != key.public:
        raise BadSignature("the certificate granted is for another key")
    return Credentials(key, grant.leaf, grant.keeper, root)


def _proof(nonce: bytes, token_id: bytes, certificate: bytes) -> bytes:
    return nonce + token_id + hashlib.sha256(certificate).digest()
