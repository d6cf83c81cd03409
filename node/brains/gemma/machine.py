"""What this machine offers a model: free memory, and a place for compiled code that fits its processor."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Final

_COMPILED_BYTES: Final = 64 << 20
_CPU_FLAGS: Final = ("flags", "Features", "model name")


def available_memory() -> int | None:
    """Bytes that can be taken now without swapping, within this container's limit; None where the system does not say."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    with suppress(OSError, ValueError):  # no control group, or "max": no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free


def _processor() -> str:
    """A name shared only by machines that run each other's compiled code: a home directory may be shared by several."""
    lines = [platform.machine(), platform.processor()]
    with suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").split("\n\n", 1)[0].splitlines():
            if line.split("\t")[0].split(":")[0].strip() in _CPU_FLAGS:
                lines.append(line)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def prepare_jax(cache_dir: Path) -> None:
    """Let JAX compute on the CPU, unless `JAX_PLATFORMS` says otherwise, and keep what it compiles on disk, so that a second start
    compiles nothing. Without a writable cache it just compiles. Call it before JAX is used."""
    import jax

    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    folder = cache_dir / "gemma" / "compiled" / _processor()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)  # with a limit, JAX also locks the folder
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
