"""A node's identity as files: its key, its membership, and on a keeper the means to admit others.

    node.key      the node's Ed25519 key
    member.crt    its leaf and the certificate of the keeper that issued it (one file, so a renewal replaces both at once)
    root.crt      the swarm's root certificate
    keeper.key, keeper.crt      only on a keeper: its intermediate
    root.key      only on the founder, until it is taken offline; nothing needs it but making another keeper

PEM, mode 0600 in a directory of mode 0700, each written whole, synced and renamed into place. Files and not rows: a damaged
database loses no identity. Everything here blocks for moments: call it before there is work, or through `Runtime.run_blocking`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from node.data_dir import write_private
from node.runtime import Runtime
from protocol.errors import BadSignature, Conflict, NotAuthorised, NotAvailable
from protocol.identity import (
    Credentials,
    NodeKey,
    describe_leaf,
    issue_keeper,
    issue_leaf,
    issue_root,
    load_certificate,
    open_swarm,
    public_key_of,
    verify_chain,
)
from protocol.pins import WORDS, pin_of

NODE_KEY, MEMBER, ROOT = "node.key", "member.crt", "root.crt"
KEEPER_KEY, KEEPER, ROOT_KEY = "keeper.key", "keeper.crt", "root.key"
MAX_FILE = 65_536


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs leaves: a keeper's intermediate, or the public one of the open swarm."""

    key: NodeKey
    certificate: bytes
    root: bytes

    def issue(self, public_key: bytes, *, is_keeper: bool, runtime: Runtime) -> tuple[bytes, bytes]:
        """A new (leaf, keeper) chain for a node."""
        serial = _serial(runtime)
        leaf = issue_leaf(self.key, self.certificate, public_key, is_keeper=is_keeper, serial=serial, now=runtime.now())
        return leaf, self.certificate


class Keyring:
    """The identity files in one directory that no other daemon uses."""

    def __init__(self, directory: Path, runtime: Runtime) -> None:
        self.directory = directory
        self._runtime = runtime

    def node_key(self) -> NodeKey:
        """This node's key, made on first use. Raises `NotAvailable` when the file is damaged, or lost by a member."""
        if not self._has(NODE_KEY) and not self._has(MEMBER):
            self._write(NODE_KEY, NodeKey.from_seed(self._runtime.token_bytes(32)).to_pem())
        return self._key(NODE_KEY)

    def load(self) -> Credentials | None:
        """This node's membership, renewed if it ran out and the node may issue its own; None when it never joined a swarm.

        Raises `NotAuthorised` when it has expired, `NotAvailable` when a file is damaged, missing or belongs elsewhere.
        """
        if not self._has(MEMBER):
            issuer = self.issuer()
            return self._issue_own(issuer) if issuer is not None else None
        (root,) = self._certificates(ROOT, 1)
        leaf, keeper = self._certificates(MEMBER, 2)
        credentials = Credentials(self.node_key(), leaf, keeper, root)
        expires_at = self._check(credentials)
        if self._runtime.now() < expires_at:
            return credentials
        renewed = self.renew_own()
        if renewed is None:
            raise NotAuthorised(
                f"This node's membership expired on {datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d} while it was off: "
                "join again with a new token from `moot token create` (or set this machine's clock, if it is wrong).",
                code="membership_expired",
            )
        return renewed

    def create_swarm(self, embedder: str = WORDS) -> Credentials:
        """Found a swarm that pins this embedder: this node holds its root and is its first keeper.

        Raises `Conflict` when the files of one are here.
        """
        for name in (MEMBER, KEEPER_KEY, KEEPER, ROOT_KEY):
            if self._has(name):
                raise Conflict(f"{self.directory} holds {name} of a swarm already: use it, or choose another --data-dir.")
        now = self._runtime.now()
        root_key, keeper_key = (NodeKey.from_seed(self._runtime.token_bytes(32)) for _ in range(2))
        root = issue_root(root_key, serial=_serial(self._runtime), now=now, extensions=pin_of(embedder))
        keeper = issue_keeper(root_key, root, keeper_key.public, serial=_serial(self._runtime), now=now)
        self._write(ROOT_KEY, root_key.to_pem())
        self._write(ROOT, _pem(root))
        self._write(KEEPER_KEY, keeper_key.to_pem())
        self._write(KEEPER, _pem(keeper))
        return self._issue_own(Issuer(keeper_key, keeper, root))

    def enter_open_swarm(self) -> Credentials:
        """This node's membership of the swarm that anybody may join. Raises `Conflict` when a closed swarm's files are here."""
        if self._has(KEEPER_KEY) or (self._has(MEMBER) and not self.is_open()):
            raise Conflict(f"{self.directory} belongs to a closed swarm: use another --data-dir, or leave out --open.")
        present = self.load() if self._has(MEMBER) else None
        return present or self._issue_own(Issuer(*open_swarm()))

    def adopt(self, credentials: Credentials) -> None:
        """Keep a membership that was granted or renewed."""
        self._write(ROOT, _pem(credentials.root))
        self._write(MEMBER, _pem(*credentials.chain))

    def renew_own(self) -> Credentials | None:
        """A fresh membership where this node may issue it (a keeper, or in the open swarm); None where a keeper must be asked."""
        issuer = self.issuer()
        if issuer is None and self.is_open():
            issuer = Issuer(*open_swarm())
        return self._issue_own(issuer) if issuer is not None else None

    def issuer(self) -> Issuer | None:
        """What this node admits others with; None when it is no keeper. Raises `NotAvailable` when a part of it is wrong."""
        if not self._has(KEEPER_KEY) and not self._has(KEEPER):
            return None
        key = self._key(KEEPER_KEY)
        (certificate,), (root,) = self._certificates(KEEPER, 1), self._certificates(ROOT, 1)
        try:
            load_certificate(certificate).verify_directly_issued_by(load_certificate(root))
            if public_key_of(load_certificate(certificate)) != key.public:
                raise BadSignature("the key is another")
        except (InvalidSignature, ValueError, TypeError, BadSignature) as error:
            raise self._unusable(f"{KEEPER_KEY}, {KEEPER} and {ROOT} in {self.directory} do not belong together") from error
        return Issuer(key, certificate, root)

    def is_open(self) -> bool:
        """Whether this directory's membership is of the swarm that anybody may join."""
        return self._has(ROOT) and self._certificates(ROOT, 1) == [open_swarm()[2]]

    def _issue_own(self, issuer: Issuer) -> Credentials:
        key = self.node_key()
        keeps = issuer.root != open_swarm()[2]
        credentials = Credentials(key, *issuer.issue(key.public, is_keeper=keeps, runtime=self._runtime), issuer.root)
        self.adopt(credentials)
        return credentials

    def _check(self, credentials: Credentials) -> float:
        """When this membership expires, once it is clear that it is this node's and its swarm's."""
        member = describe_leaf(credentials.leaf)
        if member.public_key != credentials.key.public:
            raise self._unusable(f"{NODE_KEY} and {MEMBER} in {self.directory} do not belong together")
        try:
            verify_chain(credentials.chain, credentials.root, min(self._runtime.now(), member.expires_at))
        except BadSignature as error:
            raise self._unusable(f"{MEMBER} in {self.directory} cannot be used ({error})") from error
        return member.expires_at

    # ---- files ----------------------------------------------------------------------------------------------------

    def _has(self, name: str) -> bool:
        return (self.directory / name).exists()

    def _write(self, name: str, data: bytes) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            write_private(self.directory / name, data)
            descriptor = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the rename, too, has to survive a power cut
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotAvailable(f"{self.directory / name} cannot be written: {error.strerror}. Choose another --data-dir.") from error

    def _read(self, name: str) -> bytes:
        path = self.directory / name
        try:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            with path.open("rb") as file:
                return file.read(MAX_FILE)
        except FileNotFoundError as error:
            raise self._unusable(f"{path} is missing") from error
        except OSError as error:
            raise NotAvailable(f"{path} cannot be read: {error.strerror}. Make it readable for the user that runs moot.") from error

    def _key(self, name: str) -> NodeKey:
        data = self._read(name)
        try:
            return NodeKey.from_pem(data)
        except BadSignature as error:
            raise self._unusable(f"{self.directory / name} is damaged") from error

    def _certificates(self, name: str, count: int) -> list[bytes]:
        data = self._read(name)
        try:
            found = [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(data)]
        except ValueError as error:
            raise self._unusable(f"{self.directory / name} is damaged") from error
        if len(found) != count:
            raise self._unusable(f"{self.directory / name} is damaged: {len(found)} certificates where {count} belong")
        return found

    def _unusable(self, what: str) -> NotAvailable:
        return NotAvailable(f"{what}: restore it from a backup, or move {self.directory} away and join again with a new token.")


def _serial(runtime: Runtime) -> int:
    """127 random bits: positive and at most 20 octets (RFC 5280, section 4.1.2.2)."""
    return int.from_bytes(runtime.token_bytes(16), "big") >> 1


def _pem(*certificates: bytes) -> bytes:
    return b"".join(load_certificate(der).public_bytes(Encoding.PEM) for der in certificates)
