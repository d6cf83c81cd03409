"""Token buckets: a burst, then a rate, for each source apart."""

from __future__ import annotations

from node.dht.limits import TokenBuckets


def test_a_source_gets_its_burst_and_then_its_rate() -> None:
    buckets = TokenBuckets(rate=2, burst=3)
    assert [buckets.allow("a", 0.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [buckets.allow("a", 1.0) for _ in range(3)] == [True, True, False]
    assert buckets.allow("b", 1.0)


def test_a_clock_that_goes_back_fills_nothing() -> None:
    buckets = TokenBuckets(rate=1, burst=1)
    assert buckets.allow("a", 100.0)
    assert not buckets.allow("a", 50.0)
    assert buckets.allow("a", 51.0)


def test_only_the_sources_heard_last_are_remembered() -> None:
    buckets = TokenBuckets(rate=0, burst=1, capacity=2)
    assert [buckets.allow(name, 0.0) for name in "abcb"] == [True, True, True, False]
    assert buckets.allow("a", 0.0), "the oldest source was forgotten"
