from __future__ import annotations

import random
from collections import Counter

from node.council.seams import Candidate
from node.council.seating import seat
from protocol.identity import NodeId


def agents(node: int, count: int, family: str = "gemma", fitness: float = 0.5) -> list[Candidate]:
    return [
        Candidate(f"{node}-{family}-{number}".encode().ljust(20), NodeId(bytes([node]) * 20), family, family, fitness, 0)
        for number in range(count)
    ]


def test_all_nodes_take_part_and_none_outvotes_the_others() -> None:
    panel = seat(agents(1, 40) + agents(2, 5) + agents(3, 5), 12, random.Random(1))
    assert Counter(candidate.node_id[0] for candidate in panel) == {1: 4, 2: 4, 3: 4}


def test_seats_left_over_go_to_the_nodes_that_have_agents() -> None:
    panel = seat(agents(1, 40) + agents(2, 1), 12, random.Random(1))
    assert Counter(candidate.node_id[0] for candidate in panel) == {1: 11, 2: 1}


def test_of_three_nodes_none_holds_more_than_half_of_the_seats() -> None:
    panel = seat(agents(1, 40) + agents(2, 1) + agents(3, 1), 12, random.Random(1))
    assert Counter(candidate.node_id[0] for candidate in panel) == {1: 6, 2: 1, 3: 1}


def test_a_family_takes_at_most_two_thirds_while_others_could_sit() -> None:
    crowd = [candidate for node in range(1, 10) for candidate in agents(node, 10)]
    panel = seat(crowd + agents(1, 6, "tiny"), 9, random.Random(2))
    assert Counter(candidate.family for candidate in panel)["gemma"] <= 6


def test_one_family_alone_fills_the_panel() -> None:
    assert len(seat(agents(1, 20), 15, random.Random(1))) == 15


def test_everybody_sits_where_there_is_room() -> None:
    everybody = agents(1, 9) + agents(2, 3, "tiny")
    assert sorted(c.agent_id for c in seat(everybody, 15, random.Random(1))) == sorted(c.agent_id for c in everybody)


def test_equal_seeds_give_equal_panels_in_any_order_of_candidates() -> None:
    everybody = [candidate for node in range(1, 6) for candidate in agents(node, 8)]
    shuffled = random.Random(9).sample(everybody, len(everybody))
    assert seat(everybody, 10, random.Random(4)) == seat(shuffled, 10, random.Random(4))
    assert seat(everybody, 10, random.Random(4)) != seat(everybody, 10, random.Random(5))


def test_fit_agents_sit_more_often_and_unfit_ones_sometimes() -> None:
    pool = agents(1, 10, "fit", 0.9) + agents(1, 10, "unfit", 0.1)
    rng = random.Random(3)
    counts = Counter(candidate.family for _ in range(200) for candidate in seat(pool, 2, rng)[:1])
    assert counts["fit"] > counts["unfit"] > 10


def test_no_candidates_no_panel() -> None:
    assert seat([], 15, random.Random(1)) == []
