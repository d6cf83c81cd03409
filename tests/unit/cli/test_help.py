"""What is mistyped is met with a way on; what is shown fits where it is shown."""

from __future__ import annotations

import io
import shlex

import pytest
from rich.console import Console

from cli.invitation import where_to_join
from cli.render import render_peers, render_status
from cli.tables import table
from protocol.api.nodes import NodeInfo, PeerInfo, Peers
from tests.unit.cli.conftest import Moot

ID = "wuf464x2b4rn6rfoykmsisud2zkrpc5l"


def drawn(what: object, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("statsu",), "did you mean 'status'?"),
        (("token",), "'moot token' wants one of create, ls, revoke"),
        (("token", "crate"), "Did you mean 'create'?"),
        (("completion", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_a_slip_is_met_with_what_was_probably_meant(moot: Moot, typed: tuple[str, ...], says: str) -> None:
    shown = moot(*typed)
    assert (shown.code, says in shown.err) == (2, True)
    assert "Value error" not in shown.err


@pytest.mark.parametrize("width", [44, 60, 80, 160])
def test_an_id_is_never_broken_however_narrow_the_terminal(width: int) -> None:
    rows = [[name, ID, "127.0.0.1:38853", "alive"] for name in ("alder", "birch")]
    lines = drawn(table(["name", "node", "address", "state"], rows), width)
    assert sum(ID in line for line in lines) == 2
    assert max(map(len, lines)) <= width


def test_a_member_list_says_which_node_is_asked_and_who_said_goodbye() -> None:
    me = PeerInfo(ID, "alder", "127.0.0.1:1", "alive", None, 4)
    gone = PeerInfo("a" * 32, "birch", "127.0.0.1:2", "stopped", 0.5, 4)
    lines = drawn(render_peers(Peers([], [me, gone], ID)), 120)
    assert "this node" in next(line for line in lines if "alder" in line)
    assert "stopped" in next(line for line in lines if "birch" in line)


def test_a_node_that_is_ready_but_alone_says_so() -> None:
    node = NodeInfo(ID, "alder", ID, "0.1.0", "127.0.0.1:1", ["member"], [], 0, 1.0, True, [])
    assert "alone" in "".join(drawn(render_status(node), 100))
    near = NodeInfo(ID, "alder", ID, "0.1.0", "127.0.0.1:1", ["member"], [], 0, 1.0, True, [], neighbours=2, members=3)
    assert "2 neighbours, 3 live nodes" in "".join(drawn(render_status(near), 100))


@pytest.mark.parametrize("address", ["127.0.0.1:7337", "[::1]:7337", "localhost:7337"])
def test_a_loopback_address_is_not_offered_to_another_machine(address: str) -> None:
    assert "--advertise" in where_to_join(address)
    assert where_to_join("192.168.1.20:7337") == "On another machine"


def test_a_kept_memory_comes_with_the_command_that_lifts_its_quarantine(moot: Moot, api: str) -> None:
    shown = moot("memory", "add", "What's our VPN host?", "vpn.example.org", "--api", api)
    words = shlex.split(shown.out.partition("There: ")[2])
    assert (words[:3], words[4:]) == (["moot", "memory", "rate"], ["What's our VPN host?", "1"])
