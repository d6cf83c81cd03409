"""The sessions of one datagram socket: who is at which address, proven, and the handshakes under way.

Sans IO: `receive` takes a datagram and says what to send back to where it came from, what opened, and which plaintext came;
`seal` gives the datagrams that carry a plaintext to a peer, an opening first where there is no session yet. Repetition is the
caller's: it calls `seal` again while it has no answer. Every table is bounded, and nothing costs a signature before the sender's
address is proven and its rate allows it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from node.dht.limits import TokenBuckets
from protocol.errors import PeerError
from protocol.identity import Credentials, NodeId
from protocol.session import (
    Acceptance,
    Challenge,
    Completion,
    CookieJar,
    Initiator,
    NoSession,
    Opening,
    Responder,
    Sealed,
    Session,
    SessionMessage,
    addresses_swarm,
    decode,
    encode,
)

Address: TypeAlias = tuple[str, int]

MAX_SESSIONS = 4_096
MAX_HANDSHAKES = 512
"""Handshakes under way, in each direction."""
SESSIONS_A_PEER = 2
"""Two, because both sides may open at once, and because the old one is still used while a new one opens."""
HANDSHAKE_S = 5.0
REPEAT_S = 0.2
"""A handshake datagram is not sent again sooner than this, however many calls wait for it."""


@dataclass(slots=True)
class Pipe:
    """An open session and the address it was proven at."""

    session: Session
    address: Address
    completion: bytes
    """To be sent ahead of frames until the peer is heard; empty once it was, and for the side that was asked."""
    completion_at: float
    doubted: bool = False
    """The peer says that it does not know this session."""


@dataclass(slots=True)
class _Outgoing:
    initiator: Initiator
    address: Address
    started_at: float
    sent_at: float


@dataclass(slots=True)
class _Incoming:
    responder: Responder
    address: Address
    ephemeral: bytes
    started_at: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a datagram led to."""

    send: tuple[bytes, ...] = ()
    """Datagrams for the address it came from."""
    opened: NodeId | None = None
    """A session with this member is open now."""
    peer: NodeId | None = None
    plaintext: bytes = b""
    """A frame from `peer`."""


NOTHING = Heard()


class Sessions:
    """Bounded tables of open sessions and handshakes. `now` is the wall clock: certificates are judged by it."""

    def __init__(self, credentials: Credentials, token_bytes: Callable[[int], bytes]) -> None:
        self.dropped: Counter[str] = Counter()
        """Datagrams that led to nothing, by reason."""
        self._token_bytes = token_bytes
        self._jar = CookieJar(token_bytes(32))
        self._pipes: OrderedDict[bytes, Pipe] = OrderedDict()
        """By our session id, least recently used first."""
        self._of_peer: dict[NodeId, list[Pipe]] = {}
        """Oldest first."""
        self._at: dict[Address, Pipe] = {}
        """The newest at an address."""
        self._outgoing: OrderedDict[tuple[Address, NodeId | None], _Outgoing] = OrderedDict()
        self._outgoing_ids: dict[bytes, tuple[Address, NodeId | None]] = {}
        self._incoming: OrderedDict[bytes, _Incoming] = OrderedDict()
        self._incoming_keys: dict[tuple[Address, bytes], bytes] = {}
        self._cheap = TokenBuckets(rate=2_000, burst=4_000)
        """Datagrams outside a session, per source address."""
        self._costly = TokenBuckets(rate=50, burst=200)
        """Handshake steps that cost a signature, per source address."""
        self._costly_all = TokenBuckets(rate=400, burst=800)
        self._notices = TokenBuckets(rate=0.5, burst=3)
        """`NoSession` believed, per peer."""
        self.renew(credentials)

    def __len__(self) -> int:
        return len(self._pipes)

    def renew(self, credentials: Credentials) -> None:
        """Use a renewed certificate from now on; open sessions stay open."""
        self._credentials = credentials
        self._swarm = credentials.swarm_id

    def forget(self, peer: NodeId) -> None:
        """Drop every session with a peer. It may open a new one while its certificate holds."""
        for pipe in list(self._of_peer.get(peer, ())):
            self._drop(pipe)

    # ---- sending --------------------------------------------------------------------------------------------------

    def seal(self, peer: NodeId | None, address: Address, plaintext: bytes, now: float) -> list[bytes]:
        """Datagrams for `address` that carry `plaintext` to `peer` (None: whichever member is there), or first steps to it."""
        pipe = self._pipe(peer, address, now)
        if pipe is None:
            return self._open(peer, address, now)
        datagrams = self._open(peer, address, now) if pipe.doubted or pipe.session.rekey_at <= now else []
        if pipe.completion and now - pipe.completion_at >= REPEAT_S:
            pipe.completion_at = now
            datagrams.append(pipe.completion)
        datagrams.append(pipe.session.seal(plaintext))
        return datagrams

    def answer(self, peer: NodeId, address: Address, plaintext: bytes, now: float) -> list[bytes]:
        """Like `seal`, but never opens: the peer has just spoken in a session."""
        pipe = self._pipe(peer, address, now)
        return [] if pipe is None else [pipe.session.seal(plaintext)]

    def _pipe(self, peer: NodeId | None, address: Address, now: float) -> Pipe | None:
        """The newest live session with the peer at this address."""
        if peer is None:
            known = self._at.get(address)
            pipes = [known] if known is not None else []
        else:
            pipes = self._of_peer.get(peer, [])
        for pipe in reversed(pipes):
            if pipe.address == address and pipe.session.expires_at > now:
                self._pipes.move_to_end(pipe.session.local_id)
                return pipe
        return None

    def _open(self, peer: NodeId | None, address: Address, now: float) -> list[bytes]:
        """The opening of a handshake, a new one or one under way; nothing when it was sent a moment ago."""
        self._expire(now)
        under_way = self._outgoing.get((address, peer))
        if under_way is not None:
            if now - under_way.sent_at < REPEAT_S:
                return []
            under_way.sent_at = now
            return [under_way.initiator.opening]
        if len(self._outgoing) >= MAX_HANDSHAKES:
            self._drop_outgoing(next(iter(self._outgoing)))
        initiator = Initiator(self._credentials, seed=self._token_bytes(32), session_id=self._token_bytes(8), expect=peer)
        self._outgoing[address, peer] = _Outgoing(initiator, address, now, now)
        self._outgoing_ids[initiator.session_id] = (address, peer)
        return [initiator.opening]

    # ---- receiving ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, address: Address, now: float) -> Heard:
        """Never raises for what a peer sent; what leads to nothing is counted in `dropped`."""
        try:
            message = decode(data)
            if isinstance(message, Sealed):
                pipe = self._pipes.get(message.receiver)
                if pipe is not None and pipe.address == address:
                    return self._on_frame(message, pipe, now)
            if not self._cheap.allow(address[0], now):
                return self._nothing("rate")
            return self._on_handshake(message, len(data), address, now)
        except PeerError as error:
            return self._nothing(type(error).__name__)

    def _on_frame(self, frame: Sealed, pipe: Pipe, now: float) -> Heard:
        if pipe.session.expires_at <= now:
            self._drop(pipe)
            return self._nothing("expired")
        plaintext = pipe.session.open(frame)
        pipe.completion = b""
        pipe.doubted = False
        self._pipes.move_to_end(pipe.session.local_id)
        return Heard(peer=pipe.session.peer.node_id, plaintext=plaintext)

    def _on_handshake(self, message: SessionMessage, size: int, address: Address, now: float) -> Heard:
        match message:
            case Opening():
                return self._on_opening(message, address, now)
            case Challenge():
                return self._on_challenge(message, address, now)
            case Acceptance():
                return self._on_acceptance(message, address, now)
            case Completion():
                return self._on_completion(message, address, now)
            case NoSession():
                return self._on_no_session(message, address, now)
            case Sealed():
                return self._on_unknown_frame(message, size)

    def _on_opening(self, opening: Opening, address: Address, now: float) -> Heard:
        if not addresses_swarm(opening, self._swarm):
            return self._nothing("stranger")
        place = f"{address[0]} {address[1]}".encode()
        if not self._jar.proves(opening, place, now):
            return Heard(send=(self._jar.challenge(opening, place, now),))
        self._expire(now)
        known = self._incoming_keys.get((address, opening.ephemeral))
        if known is not None:
            return Heard(send=(self._incoming[known].responder.acceptance,))
        if not self._may_work(address, now):
            return self._nothing("rate")
        if len(self._incoming) >= MAX_HANDSHAKES:
            self._drop_incoming(next(iter(self._incoming)))
        responder = Responder(self._credentials, opening, seed=self._token_bytes(32), session_id=self._token_bytes(8))
        self._incoming[responder.session_id] = _Incoming(responder, address, opening.ephemeral, now)
        self._incoming_keys[address, opening.ephemeral] = responder.session_id
        return Heard(send=(responder.acceptance,))

    def _on_challenge(self, challenge: Challenge, address: Address, now: float) -> Heard:
        attempt = self._attempt(challenge.receiver, address)
        if attempt is None or not attempt.initiator.challenged(challenge):
            return self._nothing("unasked")
        attempt.sent_at = now
        return Heard(send=(attempt.initiator.opening,))

    def _on_acceptance(self, acceptance: Acceptance, address: Address, now: float) -> Heard:
        attempt = self._attempt(acceptance.receiver, address)
        if attempt is None or not self._may_work(address, now):
            return self._nothing("unasked" if attempt is None else "rate")
        session, completion = attempt.initiator.accepted(acceptance, now)
        self._drop_outgoing((address, attempt.initiator.expect))
        self._keep(Pipe(session, address, completion, now))
        return Heard(send=(completion,), opened=session.peer.node_id)

    def _on_completion(self, completion: Completion, address: Address, now: float) -> Heard:
        attempt = self._incoming.get(completion.receiver)
        if attempt is None or attempt.address != address:
            return self._nothing("unasked")
        if not self._may_work(address, now):
            return self._nothing("rate")
        session = attempt.responder.completed(completion, now)
        self._drop_incoming(completion.receiver)
        self._keep(Pipe(session, address, b"", now))
        return Heard(opened=session.peer.node_id)

    def _on_no_session(self, notice: NoSession, address: Address, now: float) -> Heard:
        """The peer restarted, or somebody says so: open a new session, and keep the old one until that is done."""
        pipe = self._at.get(address)
        if pipe is None or pipe.session.remote_id != notice.receiver:
            return self._nothing("unasked")
        peer = pipe.session.peer.node_id
        if not self._notices.allow(peer, now):
            return self._nothing("rate")
        pipe.doubted = True
        return Heard(send=tuple(self._open(peer, address, now)))

    def _on_unknown_frame(self, frame: Sealed, size: int) -> Heard:
        """A frame for a session that is gone, or from another address than it was proven at."""
        notice = encode(NoSession(frame.receiver))
        if frame.receiver in self._incoming or size < len(notice):
            return self._nothing("early")
        self.dropped["no session"] += 1
        return Heard(send=(notice,))

    # ---- tables ---------------------------------------------------------------------------------------------------

    def _may_work(self, address: Address, now: float) -> bool:
        return self._costly.allow(address[0], now) and self._costly_all.allow(None, now)

    def _attempt(self, session_id: bytes, address: Address) -> _Outgoing | None:
        key = self._outgoing_ids.get(session_id)
        return self._outgoing[key] if key is not None and key[0] == address else None

    def _nothing(self, reason: str) -> Heard:
        self.dropped[reason] += 1
        return NOTHING

    def _keep(self, pipe: Pipe) -> None:
        peer = pipe.session.peer.node_id
        pipes = self._of_peer.setdefault(peer, [])
        pipes.append(pipe)
        self._pipes[pipe.session.local_id] = pipe
        self._at[pipe.address] = pipe
        if len(pipes) > SESSIONS_A_PEER:
            self._drop(pipes[0])
        if len(self._pipes) > MAX_SESSIONS:
            self._drop(next(iter(self._pipes.values())))

    def _drop(self, pipe: Pipe) -> None:
        del self._pipes[pipe.session.local_id]
        peer = pipe.session.peer.node_id
        self._of_peer[peer].remove(pipe)
        if not self._of_peer[peer]:
            del self._of_peer[peer]
        if self._at.get(pipe.address) is pipe:
            del self._at[pipe.address]

    def _drop_outgoing(self, key: tuple[Address, NodeId | None]) -> None:
        del self._outgoing_ids[self._outgoing.pop(key).initiator.session_id]

    def _drop_incoming(self, session_id: bytes) -> None:
        attempt = self._incoming.pop(session_id)
        del self._incoming_keys[attempt.address, attempt.ephemeral]

    def _expire(self, now: float) -> None:
        """Both tables are in order of their start."""
        while self._outgoing and next(iter(self._outgoing.values())).started_at < now - HANDSHAKE_S:
            self._drop_outgoing(next(iter(self._outgoing)))
        while self._incoming and next(iter(self._incoming.values())).started_at < now - HANDSHAKE_S:
            self._drop_incoming(next(iter(self._incoming)))
