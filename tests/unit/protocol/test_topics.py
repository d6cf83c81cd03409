"""Topics: questions like the solved ones are recognised, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import pytest

from node.runtime import SystemRuntime
from protocol.topics import TopicModel

Row = tuple[str, str, tuple[str, ...]]


def rows(package: str, name: str) -> list[Row]:
    found = [json.loads(line) for line in files(package).joinpath(name).read_text("utf-8").splitlines()]
    return [(row["topic"], row["question"], tuple(row["choices"])) for row in found]


CANARIES = rows("node.council", "canaries.jsonl")
BANK = rows("node.brains", "examples.jsonl")
MODEL = TopicModel(CANARIES)

# None of these was looked at when the threshold was chosen.
UNRELATED: Sequence[tuple[str, tuple[str, ...]]] = [
    ("Which of these metals is liquid at room temperature?", ("iron", "mercury", "tin", "lead")),
    ("Is a tomato a fruit?", ("no", "yes")),
    ("How many strings does a cello have?", ("three", "four", "five", "six")),
    ("Which ocean is the deepest?", ("Atlantic", "Indian", "Pacific", "Arctic")),
    ('Does this sentence contain a verb? "Green apples on the table."', ("yes", "no")),
    ("What is the square root of 144?", ("10", "11", "12", "14")),
    ("Who composed The Four Seasons?", ("Bach", "Vivaldi", "Handel", "Corelli")),
    ("Should the agent go left or right at the wall?", ("left", "right")),
    ("Which tea has no caffeine?", ("black", "green", "rooibos", "white")),
    ("What is the past tense of run?", ("ran", "runned", "run")),
    ("Is the knot in this picture tight?", ("yes", "no")),
    ("Which bird cannot fly?", ("swan", "penguin", "crow", "gull")),
    ("In which layer of the atmosphere do we live?", ("troposphere", "stratosphere", "mesosphere")),
    ("What should be packed for a hike in the rain?", ("sandals", "a coat", "a novel")),
    ('Which bracket closes this list? "[1, 2, 3"', ("]", ")", "}")),
    ("How long does pasta boil?", ("two minutes", "ten minutes", "an hour")),
    ("Which piece moves diagonally only?", ("rook", "bishop", "knight")),
    ("Does the proof use induction?", ("yes", "no")),
    ('Which dialect is spoken here? "Howdy folks"', ("Texan", "Scottish", "Cockney")),
    ("What comes next: 2, 4, 8, 16?", ("18", "24", "32")),
]
IN_OTHER_WORDS: Sequence[Row] = [
    ("sentiment", 'What does the critic think? "A tired sequel to a film nobody liked."', ("positive", "negative")),
    ("sentiment", 'Rate this film review as positive or negative: "Splendid from the first minute."', ("negative", "positive")),
    ("tickets", 'Where should this request go? "The charger never came."', ("billing", "shipping", "technical", "account")),
    ("tickets", 'Choose the support team: "The page will not load."', ("technical", "account", "billing", "shipping")),
    ("capitals", "Which city is Austria's capital?", ("Graz", "Vienna", "Linz")),
    ("capitals", "What is the capital of Bolivia?", ("La Paz", "Sucre", "Santa Cruz", "Potosi")),
    ("spam", 'Junk or not? "Claim your free phone"', ("spam", "not spam")),
    ("spam", 'Would you call this message spam? "Lunch at one?"', ("spam", "not spam")),
    ("news", 'Under which heading would you print this? "Rates rise again"', ("sports", "business", "science", "politics")),
    ("news", 'Sort this headline: "Goalkeeper signs for another year"', ("politics", "sports", "business", "science")),
]  # fmt: skip


def test_each_canary_is_recognised_from_the_others() -> None:
    found = [
        TopicModel(CANARIES[:index] + CANARIES[index + 1 :]).infer(question, choices) == topic
        for index, (topic, question, choices) in enumerate(CANARIES)
    ]
    assert sum(found) == 60


def test_the_example_bank_is_recognised_from_the_canaries() -> None:
    assert [MODEL.infer(question, choices) for _, question, choices in BANK] == [topic for topic, _, _ in BANK]


@pytest.mark.parametrize(("topic", "question", "choices"), IN_OTHER_WORDS)
def test_other_words_for_a_known_topic_are_recognised(topic: str, question: str, choices: tuple[str, ...]) -> None:
    assert MODEL.infer(question, choices) == topic


@pytest.mark.parametrize(("question", "choices"), UNRELATED)
def test_a_question_about_something_else_has_no_topic(question: str, choices: tuple[str, ...]) -> None:
    assert MODEL.infer(question, choices) is None


@pytest.mark.parametrize(("question", "choices"), [("", ()), ("?!", ("", "")), ("日本の首都はどこですか", ("東京", "大阪"))])
def test_what_has_no_words_of_ours_has_no_topic(question: str, choices: tuple[str, ...]) -> None:
    assert MODEL.infer(question, choices) is None


def test_a_model_of_nothing_knows_nothing() -> None:
    assert TopicModel([]).infer("What is the capital of Norway?", ("Oslo", "Bergen")) is None


def test_the_order_of_solved_questions_and_of_choices_does_not_matter() -> None:
    backwards = TopicModel(CANARIES[::-1])
    for topic, question, choices in BANK[::7]:
        assert backwards.infer(question, choices[::-1]) == topic


def test_the_task_is_found_at_either_end_of_a_long_passage() -> None:
    passage = "The parcel was wet and the box was torn, nothing else to say. " * 400
    choices = ("billing", "shipping", "technical", "account")
    assert MODEL.infer(f'Which team should handle this support ticket? "{passage}"', choices) == "tickets"
    assert MODEL.infer(f'"{passage}" Which team should handle this support ticket?', choices) == "tickets"


def test_a_topic_is_found_in_well_under_a_millisecond() -> None:
    clock = SystemRuntime().monotonic
    best = 1.0
    for _ in range(5):
        started = clock()
        for _, question, choices in CANARIES:
            MODEL.infer(question, choices)
        best = min(best, (clock() - started) / len(CANARIES))
    assert best < 0.001
