"""Prometheus metrics: counted where things happen, gauges read when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from protocol.api.council import ConsensusAnswer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


Figures = Mapping[str, tuple[str, Callable[[], float]]]


class Metrics:
    """One registry per daemon, so that tests can have several in one process."""

    def __init__(self, gauges: Figures, counters: Figures) -> None:
        """Both: name -> (help, reader). A counter only grows while the node lives; `_total` is added to its name, as Prometheus wants."""
        self._registry = CollectorRegistry()
        self._answers = Counter("moot_answers_total", "Questions convened here, by outcome.", ["outcome"], registry=self._registry)
        self._elapsed = Histogram("moot_answer_seconds", "From question to receipt.", registry=self._registry, buckets=SECONDS)
        self._overhead = Histogram("moot_overhead_seconds", "All of that but brain time.", registry=self._registry, buckets=SECONDS)
        for name, (text, reader) in gauges.items():
            Gauge(f"moot_{name}", text, registry=self._registry).set_function(reader)
        self._registry.register(_Counted(counters))

    def asked(self, answer: ConsensusAnswer) -> None:
        self._answers.labels(answer.reason or answer.status).inc()
        self._elapsed.observe(answer.elapsed_ms / 1000)
        self._overhead.observe(max(0.0, answer.elapsed_ms - answer.brain_ms) / 1000)

    def render(self) -> bytes:
        """The text format 0.0.4."""
        return generate_latest(self._registry)


class _Counted(Collector):
    """Counts that the parts keep themselves, read when scraped."""

    def __init__(self, counters: Figures) -> None:
        self._counters = counters

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, (text, reader) in self._counters.items():
            yield CounterMetricFamily(f"moot_{name}", text, value=reader())
