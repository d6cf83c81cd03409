from __future__ import annotations

from typing import Any

import pytest

from node.council.request import DEFAULT_DEADLINE_S, check_request
from protocol.api.council import ConsensusRequest
from protocol.errors import InvalidRequest
from protocol.receipts import DEFAULT_PANEL

TWO = ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({}, "question", "exactly one"),
        ({"question": "?", "embedding": [1.0]}, "question", "exactly one"),
        ({"question": ""}, "question", "empty"),
        ({"question": " \n\t"}, "question", "empty"),
        ({"question": "x" * 65_537}, "question", "65536"),
        ({"question": "?", "choices": []}, "choices", "0 choices"),
        ({"question": "?", "choices": ["a"]}, "choices", "1 choices"),
        ({"question": "?", "choices": [str(n) for n in range(65)]}, "choices", "65 choices"),
        ({"question": "?", "choices": ["a", " "]}, "choices", "blank"),
        ({"question": "?", "choices": ["a", "b", "a "]}, "choices", "same"),
        ({"question": "?", "choices": ["a", "b", "A "]}, "choices", "only in case"),
        ({"question": "?", "choices": ["a", "b\x07"]}, "choices", "control"),
        ({"question": "?", "choices": ["caf\u00e9", "cafe\u0301"]}, "choices", "look the same"),
        ({"question": "?", "choices": ["CAF\u00c9", "cafe\u0301"]}, "choices", "only in case"),
        ({"question": "?", "system": "a\x1b[2Jb"}, "system", "control"),
        ({"question": "a\ud800b"}, "question", "control"),
        ({"question": "?", "choices": [str(n) for n in range(1_000)]}, "choices", "1000 choices"),
        ({"question": "x" * 1_000_000}, "question", "1000000"),
        ({"question": "a\x00b"}, "question", "control"),
        ({"question": "?", "combine": "memories"}, "combine", "no embedding"),
        ({"question": "?", "choices": ["a", "b" * 513]}, "choices", "512"),
        ({"question": "?", "kind": "choice"}, "choices", "add 'choices'"),
        ({"question": "?", "kind": "boolean", "choices": TWO}, "kind", "leave 'kind' out"),
        ({"question": "?", "kind": "text", "choices": TWO}, "kind", "make it 'choice'"),
        ({"question": "?", "kind": "embedding"}, "kind", "no embedding"),
        ({"embedding": [1.0], "kind": "number"}, "kind", "make it 'embedding'"),
        ({"embedding": []}, "embedding", "0 components"),
        ({"embedding": [0.0] * 4097}, "embedding", "4097 components"),
        ({"embedding": [0.0, float("nan")]}, "embedding", "Component 1"),
        ({"embedding": [float("-inf")]}, "embedding", "Component 0"),
        ({"question": "?", "deadline_s": 0.0}, "deadline_s", "more than 0"),
        ({"question": "?", "deadline_s": -1.0}, "deadline_s", "more than 0"),
        ({"question": "?", "deadline_s": 601.0}, "deadline_s", "at most 600"),
        ({"question": "?", "deadline_s": float("nan")}, "deadline_s", "more than 0"),
        ({"question": "?", "agents": 0}, "agents", "1 to 64"),
        ({"question": "?", "quorum": 65}, "quorum", "1 to 64"),
        ({"question": "?", "agents": 3, "quorum": 4}, "quorum", "more than the panel"),
        ({"question": "?", "quorum": 16}, "quorum", "more than the panel"),
        ({"question": "?", "system": "x" * 8193}, "system", "8192"),
        ({"question": "?", "temperature": -0.1}, "temperature", "0 to 2"),
        ({"question": "?", "temperature": 2.1}, "temperature", "0 to 2"),
        ({"question": "?", "temperature": float("nan")}, "temperature", "0 to 2"),
        ({"question": "?", "choices": TWO, "temperature": 1.0}, "temperature", "samples nothing"),
        ({"question": "How many legs has a spider?", "temperature": 1.0}, "temperature", "a number question"),
    ],
)
def test_a_wrong_request_is_refused_with_the_field_and_the_remedy(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_request(ConsensusRequest(**fields))
    assert caught.value.param == param
    assert says in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"question": "?"}, "text"),
        ({"question": "?", "choices": TWO}, "choice"),
        ({"question": "?", "choices": TWO, "kind": "choice"}, "choice"),
        ({"embedding": [1.0, 2.0]}, "embedding"),
        ({"question": "?", "kind": "boolean"}, "boolean"),
        ({"question": "?", "kind": "number"}, "number"),
    ],
)
def test_the_kind_follows_from_what_is_there(fields: dict[str, Any], kind: str) -> None:
    assert check_request(ConsensusRequest(**fields)).kind == kind


def test_defaults() -> None:
    asking = check_request(ConsensusRequest(question="?"))
    assert (asking.size, asking.agents, asking.quorum, asking.deadline_s) == (DEFAULT_PANEL, None, None, DEFAULT_DEADLINE_S)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is the sky blue?", "boolean"),
        ("It rained.\nDid the match take place?", "boolean"),
        ("Isn't it late?", "boolean"),
        ("How many legs has a spider?", "number"),
        ("What is the sum of 2 and 3?", "number"),
        ("Is it a cat or a dog?", "text"),
        ("Is this all.", "text"),
        ("What is love?", "text"),
        ("How do I bake bread?", "text"),
        ("issue a refund?", "text"),
    ],
)
def test_the_kind_is_read_from_the_question(question: str, kind: str) -> None:
    assert check_request(ConsensusRequest(question=question)).kind == kind
    assert check_request(ConsensusRequest(question=question, kind="text")).kind == "text"
