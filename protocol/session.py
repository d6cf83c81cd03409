"""Authenticated, encrypted sessions between two members, over anything that carries datagrams.

    initiator                                              responder
    Opening: ephemeral key, padded to 1,200 bytes    ->
                                                     <-    Challenge: cookie, a keyed hash of the sender's address
    Opening with the cookie                          ->    (only now: state, key agreement, a signature)
                                                     <-    Acceptance: ephemeral key, {certificates, signature}
    Completion: {certificates, signature}            ->
    Sealed frames                                    <->   Sealed frames

SIGMA-I (Krawczyk, 2003) with X25519, Ed25519, HKDF-SHA256 and ChaCha20-Poly1305: both sides sign the running transcript hash, the
initiator after it has seen the responder's proof, and the certificate chains travel encrypted. The transcript begins with the
swarm's id and an `Opening` carries a hash keyed by it, so that strangers' and random bytes get no answer at all.

- *No amplification.* Until an address is proven by its cookie the only answer is a `Challenge`, which is smaller than the padded
  `Opening`, and nothing is remembered.
- *Loss.* Every message may be sent again: the responder answers a repeated `Opening` with the same `Acceptance`, the initiator
  sends its `Completion` ahead of its frames until the peer is heard.
- *Restart.* Who gets a frame for a session it does not know answers `NoSession`. That makes the sender open a new one and never
  ends the old, so a forged notice costs one handshake.
- *Replay.* Frames carry 64-bit counters, checked against a window of the last 1,024 (RFC 6479's idea on one integer).

Classes here are state machines: keys, session ids and times are arguments, bytes go in and out; who sends them where is
`node/dht/sessions.py`, and later the relay link.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta, Struct

from protocol.errors import BadSignature, LocalError, Malformed, TooLarge
from protocol.identity import Credentials, Member, NodeId, SwarmId, verify, verify_chain

SESSION_VERSION = 1
OPENING_BYTES = 1_200
"""Exact length of every `Opening`, and the most bytes of any datagram (as `protocol.codec.MAX_DATAGRAM`)."""
COOKIE_BYTES = 16
COOKIE_S = 60.0
"""Cookies of this period and of the one before are taken."""
REKEY_S = 3_600.0
"""A session older than this is replaced when it is next used."""
SESSION_S = 7_200.0
"""A session older than this is dead."""
MAX_FRAMES = 2**60
WINDOW = 1_024
"""Frames that may overtake each other."""
TAG_BYTES = 16

SessionId = Annotated[bytes, Meta(min_length=8, max_length=8)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Short = Annotated[bytes, Meta(min_length=COOKIE_BYTES, max_length=COOKIE_BYTES)]


class Opening(Struct, frozen=True, array_like=True, tag=120):
    """Initiator's first message; sent again with the cookie. `sender` is the id it wants on frames to it."""

    version: Annotated[int, Meta(ge=0, le=2**32)]
    sender: SessionId
    ephemeral: Key
    cookie: Annotated[bytes, Meta(max_length=COOKIE_BYTES)]
    mac: Short
    """Keyed by the swarm's id: keeps strangers out cheaply and proves nothing."""
    padding: Annotated[bytes, Meta(max_length=OPENING_BYTES)]


class Challenge(Struct, frozen=True, array_like=True, tag=121):
    """Say this cookie from the address you claim to have."""

    receiver: SessionId
    cookie: Short


class Acceptance(Struct, frozen=True, array_like=True, tag=122):
    """Responder's key and, sealed, its `Proof`."""

    receiver: SessionId
    sender: SessionId
    ephemeral: Key
    proof: Annotated[bytes, Meta(max_length=OPENING_BYTES)]


class Completion(Struct, frozen=True, array_like=True, tag=123):
    """Initiator's `Proof`, sealed."""

    receiver: SessionId
    proof: Annotated[bytes, Meta(max_length=OPENING_BYTES)]


class Sealed(Struct, frozen=True, array_like=True, tag=124):
    """One frame of an open session."""

    receiver: SessionId
    counter: Annotated[int, Meta(ge=0, le=MAX_FRAMES)]
    body: Annotated[bytes, Meta(min_length=TAG_BYTES, max_length=OPENING_BYTES)]


class NoSession(Struct, frozen=True, array_like=True, tag=125):
    """The frame's receiver knows no session of this id: open a new one."""

    receiver: SessionId


class Proof(Struct, frozen=True, array_like=True):
    """Who is speaking: certificates, and a signature over the transcript so far."""

    chain: Annotated[list[Annotated[bytes, Meta(max_length=1_024)]], Meta(min_length=2, max_length=2)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


SessionMessage: TypeAlias = Opening | Challenge | Acceptance | Completion | Sealed | NoSession

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SessionMessage)
_proof_decoder = msgspec.msgpack.Decoder(Proof)

SEALED_OVERHEAD = len(_encoder.encode(Sealed(bytes(8), MAX_FRAMES, bytes(1_000)))) - 1_000 + TAG_BYTES
MAX_PLAIN = OPENING_BYTES - SEALED_OVERHEAD
"""Bytes of plaintext that fit into one sealed datagram."""


def decode(data: bytes) -> SessionMessage:
    """Raises `TooLarge` or `Malformed`. An `Opening` that is not exactly padded is malformed."""
    if len(data) > OPENING_BYTES:
        raise TooLarge(f"a datagram of {len(data)} bytes; the limit is {OPENING_BYTES}")
    try:
        message: SessionMessage = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not a session message: {error}") from error
    if isinstance(message, Opening) and len(data) != OPENING_BYTES:
        raise Malformed("an opening that is not padded")
    return message


def encode(message: SessionMessage) -> bytes:
    return _encoder.encode(message)


class CookieJar:
    """Stateless proof that a peer receives at the address it sends from (RFC 9147, section 5.1)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def challenge(self, opening: Opening, address: bytes, now: float) -> bytes:
        """The answer to an `Opening` without a good cookie."""
        return encode(Challenge(opening.sender, self._cookie(opening, address, int(now // COOKIE_S))))

    def proves(self, opening: Opening, address: bytes, now: float) -> bool:
        """Whether the cookie in `opening` was sent to this address a short while ago."""
        period = int(now // COOKIE_S)
        return any(hmac.compare_digest(opening.cookie, self._cookie(opening, address, period - back)) for back in (0, 1))

    def _cookie(self, opening: Opening, address: bytes, period: int) -> bytes:
        said = opening.sender + opening.ephemeral + period.to_bytes(8, "big") + address
        return hashlib.blake2s(said, key=self._secret, digest_size=COOKIE_BYTES).digest()


def opening_datagram(swarm: SwarmId, session_id: bytes, ephemeral: bytes, cookie: bytes = b"") -> bytes:
    """A padded `Opening`. Any 8 and 32 bytes draw a `Challenge` from a node of the swarm, which shows that UDP gets through."""
    bare = Opening(SESSION_VERSION, session_id, ephemeral, cookie, bytes(COOKIE_BYTES), b"")
    signed = msgspec.structs.replace(bare, mac=_opening_mac(bare, swarm))
    # a bin 16 header is one byte longer than the bin 8 of empty padding
    return encode(msgspec.structs.replace(signed, padding=bytes(OPENING_BYTES - len(encode(signed)) - 1)))


def addresses_swarm(opening: Opening, swarm: SwarmId) -> bool:
    """Whether an opening is of this protocol version and speaks to this swarm. Cheap; done before anything else."""
    return opening.version == SESSION_VERSION and hmac.compare_digest(opening.mac, _opening_mac(opening, swarm))


class Session:
    """An open session: seals frames to one member and opens frames from it."""

    def __init__(self, peer: Member, *, local_id: bytes, remote_id: bytes, send_key: bytes, receive_key: bytes, now: float) -> None:
        self.peer = peer
        self.local_id = local_id
        self.remote_id = remote_id
        self.rekey_at = now + REKEY_S
        self.expires_at = min(now + SESSION_S, peer.expires_at)
        self._send, self._receive = ChaCha20Poly1305(send_key), ChaCha20Poly1305(receive_key)
        self._counter = 0
        self._highest = -1
        self._seen = 0
        """Bit i: frame `_highest` - i has come."""

    def seal(self, plaintext: bytes) -> bytes:
        """One datagram. Raises `TooLarge` over `MAX_PLAIN` bytes, `LocalError` when the counter is spent."""
        if len(plaintext) > MAX_PLAIN:
            raise TooLarge(f"{len(plaintext)} bytes do not fit into a sealed datagram of {MAX_PLAIN}")
        counter = self._counter
        if counter >= MAX_FRAMES:
            raise LocalError("a session sealed more frames than its counter allows")
        self._counter += 1
        body = self._send.encrypt(_nonce(counter), plaintext, self.remote_id)
        return encode(Sealed(self.remote_id, counter, body))

    def open(self, frame: Sealed) -> bytes:
        """The plaintext, once. Raises `BadSignature` for a forged frame and `Malformed` for a replayed or ancient one."""
        age = self._highest - frame.counter
        if age >= WINDOW or (age >= 0 and self._seen >> age & 1):
            raise Malformed("a replayed frame")
        try:
            plaintext = self._receive.decrypt(_nonce(frame.counter), frame.body, self.local_id)
        except InvalidTag as error:
            raise BadSignature("a frame that was not sealed for this session") from error
        if age < 0:
            self._seen = (self._seen << -age | 1) & (1 << WINDOW) - 1 if -age < WINDOW else 1
            self._highest = frame.counter
        else:
            self._seen |= 1 << age
        return plaintext


class Initiator:
    """The side that opens. `expect`: the only node it will talk to; None takes any member."""

    def __init__(self, credentials: Credentials, *, seed: bytes, session_id: bytes, expect: NodeId | None) -> None:
        self.session_id = session_id
        self.expect = expect
        self._credentials = credentials
        self._private = X25519PrivateKey.from_private_bytes(seed)
        self._ephemeral = self._private.public_key().public_bytes_raw()
        self._cookie = b""

    @property
    def opening(self) -> bytes:
        """What to send, and to send again while nothing comes back."""
        return opening_datagram(self._credentials.swarm_id, self.session_id, self._ephemeral, self._cookie)

    def challenged(self, challenge: Challenge) -> bool:
        """Take the cookie. True when it is news and the opening should be sent again."""
        news = challenge.cookie != self._cookie
        self._cookie = challenge.cookie
        return news

    def accepted(self, acceptance: Acceptance, now: float) -> tuple[Session, bytes]:
        """The session and the `Completion` to send. Raises `PeerError`; the attempt is unharmed by a forged acceptance."""
        shared = _agree(self._private, acceptance.ephemeral)
        heard = _transcript(self._credentials.swarm_id, self.session_id, self._ephemeral, acceptance.sender, acceptance.ephemeral)
        their_key, my_key = _expand(shared, heard, b"moot session proofs")
        peer = _check_proof(acceptance.proof, their_key, heard, b"session responder", self._credentials.root, now)
        if self.expect is not None and peer.node_id != self.expect:
            raise BadSignature("another node answers at this address")
        heard = _extend(heard, acceptance.proof)
        proof = _make_proof(self._credentials, my_key, heard, b"session initiator")
        completion = _datagram(Completion(acceptance.sender, proof))
        receive_key, send_key = _expand(shared, _extend(heard, proof), b"moot session frames")
        ids = {"local_id": self.session_id, "remote_id": acceptance.sender}
        return Session(peer, **ids, send_key=send_key, receive_key=receive_key, now=now), completion


class Responder:
    """The side that was asked, between its `Acceptance` and the peer's `Completion`."""

    def __init__(self, credentials: Credentials, opening: Opening, *, seed: bytes, session_id: bytes) -> None:
        """Agrees keys and signs: only for an opening whose cookie proves its address. Raises `BadSignature`."""
        private = X25519PrivateKey.from_private_bytes(seed)
        ephemeral = private.public_key().public_bytes_raw()
        self.session_id = session_id
        self._credentials = credentials
        self._remote_id = opening.sender
        self._shared = _agree(private, opening.ephemeral)
        heard = _transcript(credentials.swarm_id, opening.sender, opening.ephemeral, session_id, ephemeral)
        my_key, self._their_key = _expand(self._shared, heard, b"moot session proofs")
        proof = _make_proof(credentials, my_key, heard, b"session responder")
        self._heard = _extend(heard, proof)
        self.acceptance = _datagram(Acceptance(opening.sender, session_id, ephemeral, proof))

    def completed(self, completion: Completion, now: float) -> Session:
        """Raises `PeerError`; the attempt is unharmed by a forged completion."""
        peer = _check_proof(completion.proof, self._their_key, self._heard, b"session initiator", self._credentials.root, now)
        send_key, receive_key = _expand(self._shared, _extend(self._heard, completion.proof), b"moot session frames")
        ids = {"local_id": self.session_id, "remote_id": self._remote_id}
        return Session(peer, **ids, send_key=send_key, receive_key=receive_key, now=now)


def _opening_mac(opening: Opening, swarm: SwarmId) -> bytes:
    said = opening.version.to_bytes(8, "big") + opening.sender + opening.ephemeral + opening.cookie
    return hashlib.blake2s(said, key=swarm, digest_size=COOKIE_BYTES).digest()


def _datagram(message: Acceptance | Completion) -> bytes:
    data = encode(message)
    if len(data) > OPENING_BYTES:
        raise LocalError(f"certificates too long: a handshake datagram of {len(data)} bytes")
    return data


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _agree(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise BadSignature("a public key of small order") from error


def _transcript(swarm: SwarmId, initiator: bytes, initiator_key: bytes, responder: bytes, responder_key: bytes) -> bytes:
    name = b"moot session %d X25519 Ed25519 HKDF-SHA256 ChaCha20-Poly1305" % SESSION_VERSION
    return hashlib.sha256(name + swarm + initiator + initiator_key + responder + responder_key).digest()


def _extend(heard: bytes, said: bytes) -> bytes:
    return hashlib.sha256(heard + said).digest()


def _expand(shared: bytes, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    """(key for what the responder says, key for what the initiator says)."""
    keys = HKDF(SHA256(), 64, salt, info).derive(shared)
    return keys[:32], keys[32:]


def _make_proof(credentials: Credentials, key: bytes, heard: bytes, role: bytes) -> bytes:
    signature = credentials.key.sign(role, _extend(heard, b"".join(credentials.chain)))
    proof = _encoder.encode(Proof(list(credentials.chain), signature))
    return ChaCha20Poly1305(key).encrypt(bytes(12), proof, heard)  # a key of its own, used once: the nonce may be constant


def _check_proof(sealed: bytes, key: bytes, heard: bytes, role: bytes, root: bytes, now: float) -> Member:
    try:
        proof = _proof_decoder.decode(ChaCha20Poly1305(key).decrypt(bytes(12), sealed, heard))
    except (InvalidTag, msgspec.MsgspecError) as error:
        raise BadSignature("a handshake that was not meant for this swarm or this exchange") from error
    member = verify_chain(proof.chain, root, now)
    verify(member.public_key, proof.signature, role, _extend(heard, b"".join(proof.chain)))
    return member
