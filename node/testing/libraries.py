"""kademlia and rpcudp read clock and randomness themselves; here those reads are rebound, in their modules only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

from node.runtime import Runtime


@contextmanager
def rebind_libraries(runtime: Runtime) -> Iterator[None]:
    """Within the block `kademlia` and `rpcudp` take time and randomness from `runtime`. `simulate` does this by itself."""
    import kademlia.network
    import kademlia.protocol
    import kademlia.routing
    import kademlia.storage
    import rpcudp.protocol

    clock = SimpleNamespace(monotonic=runtime.monotonic, time=runtime.now)
    rebound = [
        (kademlia.routing, "time", clock),
        (kademlia.storage, "time", clock),
        (kademlia.network, "random", runtime.random()),
        (kademlia.protocol, "random", runtime.random()),
        (rpcudp.protocol, "os", SimpleNamespace(urandom=runtime.token_bytes)),
    ]
    with ExitStack() as stack:
        for module, name, substitute in rebound:
            stack.enter_context(mock.patch.object(module, name, substitute))
        yield
