"""The shipped bank, and how agents pick from their share of it."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files

import pytest

from node.brains.base import Example
from node.brains.examples import bank_by_id, load_bank, pick

TOPICS = {"sentiment", "tickets", "capitals", "spam", "news"}


def canaries() -> list[dict[str, str]]:
    return [json.loads(line) for line in files("node.council").joinpath("canaries.jsonl").read_text("utf-8").splitlines()]


def test_the_bank_has_twelve_sound_examples_of_each_topic() -> None:
    bank = load_bank()
    assert Counter(example.topic for example in bank) == dict.fromkeys(TOPICS, 12)
    assert all(example.answer in example.choices and len(set(example.choices)) == len(example.choices) for example in bank)
    assert len(bank_by_id()) == len({example.question for example in bank}) == 60


def test_answers_of_a_topic_are_evenly_represented_in_bank_and_canaries() -> None:
    for rows in ([(example.topic, example.answer) for example in load_bank()], [(row["topic"], row["answer"]) for row in canaries()]):
        counts = Counter(rows)
        for topic, share in (("sentiment", 6), ("spam", 6), ("tickets", 3), ("news", 3)):
            assert {count for (its, _), count in counts.items() if its == topic} == {share}


def test_no_canary_is_in_the_bank() -> None:
    def about(question: str, answer: str) -> str:
        return question.split('"')[1] if '"' in question else answer

    held = {about(example.question, example.answer) for example in load_bank()}
    asked = {about(row["question"], row["answer"]) for row in canaries()}
    assert len(held) == len(asked) == 60
    assert not held & asked


def test_an_agent_shows_its_own_examples_of_the_topic_in_its_own_order() -> None:
    ids = list(bank_by_id())[::-1]
    shown = pick(ids, "tickets")
    assert [example.topic for example in shown] == ["tickets"] * 6
    order = [bank_by_id()[name] for name in ids]
    assert list(shown) == sorted(shown, key=order.index)


@pytest.mark.parametrize(("topic", "counts"), [("sentiment", [3, 3]), ("tickets", [1, 1, 2, 2]), ("capitals", [1] * 6)])
def test_answers_take_turns(topic: str, counts: list[int]) -> None:
    assert sorted(Counter(example.answer for example in pick(list(bank_by_id()), topic)).values()) == counts


def test_a_question_of_no_known_topic_gets_a_mixture() -> None:
    assert sorted(Counter(example.topic for example in pick(list(bank_by_id()), None)).values()) == [1, 1, 1, 1, 2]
    assert {example.topic for example in pick(["news-01", "spam-02"], "weather")} == {"news", "spam"}


def test_unknown_ids_and_empty_shares_are_no_error() -> None:
    assert pick([], "news") == ()
    assert pick(["from-a-newer-node", "news-01"], "news") == (bank_by_id()["news-01"],)
    assert isinstance(pick(["news-01"], "news", k=0), tuple)
    assert all(isinstance(example, Example) for example in pick(["news-01"], "news"))
