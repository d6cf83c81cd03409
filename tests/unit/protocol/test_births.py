"""The birth budget: what a swarm can bear, shared without anybody who counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.births import HANDFUL, MARGIN, MAX_GRANTS, WINDOW_S, BirthLedger, Census, Household, grant
from protocol.identity import NodeId

NOW = 1_000.0 * WINDOW_S


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(20, "big"))


def town(*homes: tuple[int, int], families: int = 50) -> Census:
    """(agents, room) of each node; agents spread evenly over families."""
    return Census(
        Household(node(number), agents, room, {bytes([(number + one) % families]): 1 for one in range(agents)})
        for number, (agents, room) in enumerate(homes)
    )


@given(st.integers(0, 10_000), st.integers(1, 60), st.binary(max_size=8))
def test_grants_add_up_to_what_there_is(total: int, nodes: int, salt: bytes) -> None:
    everybody = [node(number) for number in range(nodes)]
    assert sum(grant(total, one, everybody, salt) for one in everybody) == total


def test_a_node_alone_may_fill_itself_and_a_swarm_keeps_a_reserve() -> None:
    assert town((1, 3)).budget == 4
    assert town((1, 7), (1, 7), (0, 8), (0, 8)).budget == 32 - 6
    large = town(*[(5, 5)] * 100)
    assert large.budget == 1_000 - 100


def test_no_view_grants_more_in_two_windows_than_the_budget_has_left() -> None:
    census = town(*[(4, 8)] * 25, families=100)
    born = 0
    for window in range(2):  # the same census twice: nothing was announced in between
        for number in range(25):
            ledger = BirthLedger(node(number))
            for child in range(50):
                now = NOW + window * WINDOW_S
                family = bytes([number, child])
                if ledger.refusal(census, node(number), family, now) is None:
                    ledger.note(node(number), family, now)
                    born += 1
    assert 0 < born <= census.free + 1
    assert census.population + born <= census.budget


def test_a_full_swarm_refuses_with_the_reason_and_lets_children_replace_others() -> None:
    census = town((10, 0), (9, 1), (9, 1))
    ledger = BirthLedger(node(1))
    assert ledger.refusal(census, node(0), b"new", NOW) == f"the swarm is full: 28 agents of a budget of {census.budget}"
    assert ledger.refusal(census, node(1), b"new", NOW, replaced=b"other") is None


def test_one_parent_gets_a_quarter_of_a_hosts_births() -> None:
    census = town(*[(10, 30)] * 8)
    ledger, taken = BirthLedger(node(0)), 0
    while (reason := ledger.refusal(census, node(1), b"new%d" % taken, NOW)) is None:
        ledger.note(node(1), b"new%d" % taken, NOW)
        taken += 1
    assert reason == "too many children of your node this minute"
    assert ledger.refusal(census, node(2), b"another", NOW) is None
    assert ledger.refusal(census, node(1), b"another", NOW + WINDOW_S) is None


def test_no_family_is_let_above_a_fifth_once_the_swarm_is_more_than_a_handful() -> None:
    homes = [Household(node(number), 10, 10, {b"big": 2, **{bytes([number, one]): 1 for one in range(8)}}) for number in range(10)]
    census = Census(homes)
    assert census.ceiling == 20
    assert census.left(b"big") < 0
    reason = BirthLedger(node(0)).refusal(census, node(1), b"big", NOW)
    assert reason == "its family holds 20% of the swarm, more than it may"
    small = Census([Household(node(0), HANDFUL - 1, 10, {b"big": HANDFUL - 1})])
    assert small.left(b"big") >= 0


def test_where_few_families_live_each_may_hold_a_quarter_more_than_an_equal_share() -> None:
    census = Census([Household(node(0), 40, 20, {b"one": 20, b"two": 20})])
    assert census.ceiling == 25
    assert BirthLedger(node(0)).refusal(census, node(0), b"one", NOW) is None


def test_a_family_at_its_ceiling_may_still_replace_its_own() -> None:
    census = Census([Household(node(number), 10, 5, {b"big": 5, bytes([number]): 5}) for number in range(10)])
    assert BirthLedger(node(0)).refusal(census, node(0), b"big", NOW, replaced=b"big") is None
    assert BirthLedger(node(0)).refusal(census, node(0), b"big", NOW, replaced=b"\1") is not None


def test_a_liar_about_its_room_counts_for_a_few_others_at_most() -> None:
    honest = [(4, 4)] * 9
    assert town(*honest, (0, 10**9)).capacity == 9 * 8 + 4 * 8
    assert town(*honest, (0, 10**9)).budget <= 104 - 104 // 10


def test_a_clock_that_went_back_begins_a_window_and_harms_nothing() -> None:
    census, ledger = town((1, 9), (1, 9)), BirthLedger(node(0))
    assert ledger.refusal(census, node(1), b"f", NOW) is None
    assert ledger.refusal(census, node(1), b"f", -5.0) is None


def test_births_stop_a_little_short_of_the_budget() -> None:
    census = town(*[(9, 3)] * 40, families=200)
    assert census.free == census.budget - census.budget // MARGIN - 360


def test_a_flood_of_families_does_not_fill_the_ledger() -> None:
    census, ledger = town(*[(10, 30)] * 8), BirthLedger(node(0))
    for number in range(2 * MAX_GRANTS):
        ledger.refusal(census, node(1), b"invented %d" % number, NOW)
    assert len(ledger._grants) == MAX_GRANTS
    assert ledger.refusal(census, node(2), b"one more", NOW) is None
