"""A person who imports a forged agent reads what is wrong with it, and nothing is born."""

from __future__ import annotations

import asyncio
import pickle  # noqa: TID251 - to show that a pickle is refused
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import save

from node.agents.files import export_agent, import_agent
from node.agents.genome import pack
from node.agents.host import Surroundings
from node.brains.base import Genome
from node.brains.tiny import TinyBrain
from node.runtime import Runtime
from protocol.api.agents import AgentFile
from protocol.errors import InvalidRequest
from protocol.identity import NodeKey, show_id
from protocol.lineage import Descent
from tests.unit.agents.house import host, running, simulated

KEY = NodeKey.from_seed(bytes(32))
SETTINGS = pack(Genome("tiny:mlp", {}, {"sigma": 0.01}))
Tensors = dict[str, np.ndarray]


def weights() -> Tensors:
    return {name: np.zeros(spec.shape, np.float32) for name, spec in TinyBrain().schema().items()}


def forged(file: AgentFile, data: bytes) -> AgentFile:
    return replace(file, genome=b64encode(data).decode())


def with_weights(**changed: np.ndarray) -> Callable[[AgentFile], AgentFile]:
    return lambda file: forged(file, SETTINGS + save({**weights(), **changed}))


def with_header(header: bytes, claimed: int) -> Callable[[AgentFile], AgentFile]:
    return lambda file: forged(file, SETTINGS + struct.pack("<Q", claimed) + header)


def with_lineage(change: Callable[[list[Descent]], list[Descent]]) -> Callable[[AgentFile], AgentFile]:
    def crime(file: AgentFile) -> AgentFile:
        chain = msgspec.msgpack.decode(b64decode(file.lineage), type=list[Descent])
        return replace(file, lineage=b64encode(msgspec.msgpack.encode(change(chain))).decode())

    return crime


@pytest.mark.parametrize(
    ("crime", "reason"),
    [
        (with_header(b"{}", 2**63), "header claims 9223372036854775808 bytes"),
        (with_header(b" " * 100_000, 100_000), "the limit is 65536"),
        (with_header(b"{" * 50_000, 50_000), "header does not decode"),
        (with_weights(w1=np.zeros((16, 32), np.float32)), r"'w1' of the genome has shape \(16, 32\)"),
        (with_weights(b1=np.zeros(2**20, np.float32)), "'b1' of the genome has shape"),
        (with_weights(b1=np.zeros(32, np.float64)), "'b1' of the genome is F64"),
        (with_weights(b1=np.zeros(32, np.int32)), "'b1' of the genome is I32"),
        (with_weights(memory=np.full(16, np.nan, np.float32)), "'memory' of the genome holds NaN"),
        (with_weights(w2=np.full((16, 32), np.inf, np.float32)), "'w2' of the genome holds NaN or infinity"),
        (with_weights(backdoor=np.zeros(3, np.float32)), "unknown tensor: 'backdoor'"),
        (lambda file: forged(file, SETTINGS), "truncated"),
        (lambda file: forged(file, SETTINGS + save({"w1": weights()["w1"]})), "missing or unknown tensor: 'b1'"),
        (lambda file: forged(file, pickle.dumps(weights())), "no genome of this version"),
        (lambda file: forged(file, SETTINGS + pickle.dumps(weights())), "the limit is 65536"),
        (with_lineage(lambda chain: [replace(chain[0], genome=b"x" * 32)]), "does not hash"),
        (with_lineage(lambda chain: [replace(chain[0], signature=bytes(64))]), "signature"),
        (with_lineage(lambda chain: [*chain, *chain]), "lineage"),
    ],
)
def test_a_forged_agent_is_refused_with_the_reason_and_nothing_is_born(crime: Callable[[AgentFile], AgentFile], reason: str) -> None:
    async def main(runtime: Runtime) -> None:
        home = host(runtime, TinyBrain(), agents=1, capacity=8, canaries=(), surroundings=Surroundings(key=KEY))
        async with running(home.run()):
            await asyncio.wait_for(home.ready.wait(), 60)
            (agent,) = home.population.all()
            file = export_agent(home.population, show_id(agent.agent_id))
            with pytest.raises(InvalidRequest, match=reason):
                await import_agent(home, runtime, crime(file))
            assert home.population.all() == [agent]
            await import_agent(home, runtime, file)
            assert len(home.population.all()) == 2

    simulated(main)
