"""Who a node is, and what proves that it belongs to a swarm.

A node is its Ed25519 key. `NodeId` is the first 20 bytes of SHA-256 of the public key (Kademlia's 160 bits), shown as lower-case
base32. A swarm is a root key; *keepers* hold an intermediate signed by the root and issue short-lived leaf certificates, one per
node: root -> keeper -> leaf. The certificate is the membership proof, on TLS links and in UDP sessions alike.

Pure: seeds, serial numbers and times are arguments.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import BadSignature, InvalidRequest

NodeId = NewType("NodeId", bytes)
SwarmId = NewType("SwarmId", bytes)

ID_BYTES = 20
KEY_BYTES = 32
SIGNATURE_BYTES = 64
LEAF_TTL = timedelta(days=30)
"""A leaf lives 30 days and is renewed at two thirds of that."""
CA_TTL = timedelta(days=3650)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates are valid this long before they were made: clocks differ."""
KEEPER_UNIT = "keeper"
OPEN_SEED = hashlib.sha256(b"moot open swarm issuer, version 1: public, proves nothing").digest()


@lru_cache(maxsize=4_096)
def show_id(identifier: bytes) -> str:
    """Lower-case base32 without padding; 32 characters for 20 bytes."""
    return base64.b32encode(identifier).decode().rstrip("=").lower()


def parse_id(text: str) -> bytes:
    """The inverse of `show_id`. Raises `InvalidRequest`."""
    padded = text.strip().upper() + "=" * (-len(text.strip()) % 8)
    try:
        raw = base64.b32decode(padded)
    except ValueError as error:
        raise InvalidRequest(_no_id(text)) from error
    if len(raw) != ID_BYTES:
        raise InvalidRequest(_no_id(text))
    return raw


def _no_id(text: str) -> str:
    return f"'{text[:64]}' is not an id: copy the whole of one that moot printed, {8 * ID_BYTES // 5} letters and digits."


def node_id_of(public_key: bytes) -> NodeId:
    """First 20 bytes of SHA-256 of the raw public key."""
    return NodeId(hashlib.sha256(public_key).digest()[:ID_BYTES])


@dataclass(frozen=True, slots=True)
class NodeKey:
    """An Ed25519 key pair: a node's, a keeper's or a root's."""

    private: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, seed: bytes) -> NodeKey:
        """From 32 bytes of randomness (RFC 8032)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> NodeKey:
        """From unencrypted PKCS #8. Raises `BadSignature` when the file holds no Ed25519 key."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise BadSignature(f"not a private key in PEM form: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadSignature("not an Ed25519 private key")
        return cls(key)

    def to_pem(self) -> bytes:
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    @property
    def node_id(self) -> NodeId:
        return node_id_of(self.public)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """64-byte signature over a domain-separated message (`context` names what is being signed)."""
        return self.private.sign(signed_bytes(context, message))


def signed_bytes(context: bytes, message: bytes) -> bytes:
    """What is really signed: length-prefixed context, then the message, so that no two uses of a key can be confused."""
    return b"moot" + bytes([len(context)]) + context + message


def verify(public_key: bytes, signature: bytes, context: bytes, message: bytes) -> None:
    """Raise `BadSignature` unless `signature` is `public_key`'s over this message in this context."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise BadSignature("a key or signature has the wrong length")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_bytes(context, message))
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("a signature does not hold") from error


@dataclass(frozen=True, slots=True)
class Member:
    """What a verified certificate says about a peer."""

    node_id: NodeId
    public_key: bytes
    keeper: bool
    expires_at: float


@dataclass(frozen=True, slots=True)
class Credentials:
    """A node's own key and its proof of membership, all certificates in DER."""

    key: NodeKey
    leaf: bytes
    keeper: bytes
    root: bytes

    @property
    def node_id(self) -> NodeId:
        return self.key.node_id

    @property
    def swarm_id(self) -> SwarmId:
        return swarm_id_of(self.root)

    @property
    def chain(self) -> tuple[bytes, bytes]:
        """(leaf, keeper): what a peer that knows the root needs."""
        return (self.leaf, self.keeper)


def swarm_id_of(root: bytes) -> SwarmId:
    """First 20 bytes of SHA-256 of the root's raw public key; also the CA hash in a join token."""
    return SwarmId(hashlib.sha256(public_key_of(load_certificate(root))).digest()[:ID_BYTES])


def load_certificate(der: bytes) -> x509.Certificate:
    """Raises `BadSignature` when the bytes are no certificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise BadSignature("not an X.509 certificate in DER form") from error


def public_key_of(certificate: x509.Certificate) -> bytes:
    """The raw Ed25519 public key in a certificate. Raises `BadSignature` for another kind of key."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise BadSignature("the certificate's key is of an unknown kind") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadSignature("the certificate's key is not Ed25519")
    return key.public_bytes_raw()


def issue_root(key: NodeKey, *, serial: int, now: float, extensions: Sequence[x509.ExtensionType] = ()) -> bytes:
    """A self-signed swarm root (DER), with what its founder settles for good (`protocol.pins`). Its key may go offline once a keeper
    exists.
    """
    return _issue(key, None, key.public, unit="root", path_length=1, serial=serial, now=now, ttl=CA_TTL, extensions=extensions)


def check_root(root: bytes) -> None:
    """Everything that a root says is signed by its own key, whose hash is the swarm's id. Raises `BadSignature`."""
    certificate = load_certificate(root)
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise BadSignature("its root certificate is not signed by the swarm's key") from error


def issue_keeper(root_key: NodeKey, root: bytes, keeper_public: bytes, *, serial: int, now: float) -> bytes:
    """An intermediate that may issue leaves (DER)."""
    return _issue(root_key, root, keeper_public, unit=KEEPER_UNIT, path_length=0, serial=serial, now=now, ttl=CA_TTL)


def issue_leaf(
    keeper_key: NodeKey, keeper: bytes, node_public: bytes, *, is_keeper: bool, serial: int, now: float, ttl: timedelta = LEAF_TTL
) -> bytes:
    """A node's membership certificate (DER); `is_keeper` marks a node that redeems join tokens."""
    unit = KEEPER_UNIT if is_keeper else "member"
    return _issue(keeper_key, keeper, node_public, unit=unit, path_length=None, serial=serial, now=now, ttl=ttl)


def verify_chain(chain: Sequence[bytes], root: bytes, now: float) -> Member:
    """Check leaf <- keeper <- root and say who the leaf is. Raises `BadSignature`.

    The same rules as OpenSSL applies on a TLS link, for transports that have no TLS.
    """
    if len(chain) != 2:
        raise BadSignature("a membership proof is a leaf and its keeper's certificate")
    leaf, keeper, anchor = load_certificate(chain[0]), load_certificate(chain[1]), load_certificate(root)
    try:
        leaf.verify_directly_issued_by(keeper)
        keeper.verify_directly_issued_by(anchor)
        issuer_may_sign = keeper.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        is_leaf = not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise BadSignature("the certificate was not issued by this swarm") from error
    if not is_leaf:
        raise BadSignature("an issuer's certificate is no proof of membership")
    if not issuer_may_sign:
        raise BadSignature("the certificate was issued by a node that may not issue")
    moment = datetime.fromtimestamp(now, UTC)
    for certificate in (leaf, keeper, anchor):
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise BadSignature("a certificate is expired or not yet valid; check this machine's clock")
    return describe_leaf(chain[0])


def describe_leaf(leaf: bytes) -> Member:
    """Read a leaf that somebody else (OpenSSL, `verify_chain`) has already verified."""
    certificate = load_certificate(leaf)
    public_key = public_key_of(certificate)
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return Member(
        node_id=node_id_of(public_key),
        public_key=public_key,
        keeper=any(unit.value == KEEPER_UNIT for unit in units),
        expires_at=certificate.not_valid_after_utc.timestamp(),
    )


def renew_at(leaf: bytes) -> float:
    """When a leaf should be renewed: two thirds through its life, seconds since the epoch."""
    certificate = load_certificate(leaf)
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return start + (end - start) * 2 / 3


@lru_cache(maxsize=1)
def open_swarm() -> tuple[NodeKey, bytes, bytes]:
    """(issuer key, keeper certificate, root certificate) of the swarm that anybody may join.

    The key is a public constant: it keeps one TLS path for closed and open swarms and proves nothing about membership.
    """
    key = NodeKey.from_seed(OPEN_SEED)
    epoch = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    root = _issue(key, None, key.public, unit="root", path_length=1, serial=1, now=epoch, ttl=CA_TTL * 5)
    keeper_key = NodeKey.from_seed(hashlib.sha256(OPEN_SEED).digest())
    keeper = _issue(key, root, keeper_key.public, unit=KEEPER_UNIT, path_length=0, serial=2, now=epoch, ttl=CA_TTL * 5)
    return keeper_key, keeper, root


def _issue(
    signer: NodeKey,
    issuer: bytes | None,
    subject_public: bytes,
    *,
    unit: str,
    path_length: int | None,
    serial: int,
    now: float,
    ttl: timedelta,
    extensions: Sequence[x509.ExtensionType] = (),
) -> bytes:
    """One certificate; a CA where `path_length` is given (RFC 5280, section 4.2.1.9)."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, show_id(node_id_of(subject_public))),
        ]
    )
    issuer_certificate = load_certificate(issuer) if issuer is not None else None
    moment = datetime.fromtimestamp(now, UTC)
    is_ca = path_length is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_certificate.subject if issuer_certificate is not None else subject)
        .public_key(Ed25519PublicKey.from_public_bytes(subject_public))
        .serial_number(serial)
        .not_valid_before(moment - CLOCK_SKEW)
        .not_valid_after(moment + ttl)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
        .add_extension(_key_usage(is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(Ed25519PublicKey.from_public_bytes(subject_public)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.private.public_key()), critical=False)
    )
    if not is_ca:
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(both, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer.private, None).public_bytes(serialization.Encoding.DER)


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
