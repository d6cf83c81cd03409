"""SSL contexts made of credentials, and who a TLS peer is.

TLS 1.3 only, no host names, no session tickets: the certificate says who somebody is. The only trust anchor is the swarm's root.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from protocol.identity import Credentials


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """For the listener: a peer may show no certificate (it then gets nothing but the visitors' routes), never a foreign one."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """For dialling members as a member."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, credentials)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def stranger_context() -> ssl.SSLContext:
    """For a node that has no swarm yet. It verifies nothing: the caller checks the peer's certificate before it says anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def peer_certificate(ssl_object: ssl.SSLObject | None) -> bytes:
    """The peer's own certificate in DER; empty when it showed none."""
    return (ssl_object.getpeercert(binary_form=True) or b"") if ssl_object is not None else b""


def concerns_identity(error: ssl.SSLError) -> bool:
    """Whether one side found the other's certificate wanting, rather than the line being bad or the service another."""
    return isinstance(error, ssl.SSLCertVerificationError) or "ALERT" in (error.reason or "")


def explain(error: ssl.SSLError) -> str:
    """One clause for people: what a failed handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message.lower()
        if "expired" in text or "not yet valid" in text:
            return "its certificate has expired or is not yet valid (check both clocks)"
        return "it belongs to another swarm"
    reason = (error.reason or "").upper()
    if "UNKNOWN_CA" in reason:
        return "it belongs to another swarm"
    if "EXPIRED" in reason:
        return "it finds this node's certificate expired (check both clocks)"
    if "ALERT" in reason:
        return f"it refused this node's certificate ({reason.lower()})"
    return f"it does not speak moot's TLS ({(error.reason or str(error)).lower()})"


def _context(purpose: int, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=credentials.root)
    _load_key(context, credentials)
    return context


def _load_key(context: ssl.SSLContext, credentials: Credentials) -> None:
    """OpenSSL takes a key from a file only: one that nobody else can read, in a directory of its own, for this moment."""
    pem = credentials.key.to_pem() + b"".join(ssl.DER_cert_to_PEM_cert(der).encode() for der in credentials.chain)
    with tempfile.TemporaryDirectory(prefix="moot-") as directory:
        path = Path(directory, "identity.pem")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
