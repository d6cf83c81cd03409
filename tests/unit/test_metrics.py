"""Metrics under the names that Prometheus' conventions ask for."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from node.metrics import Metrics


def test_what_only_grows_is_a_counter_and_what_may_fall_a_gauge() -> None:
    seen = 41

    def total() -> float:
        return seen

    metrics = Metrics({"members": ("Live nodes.", lambda: 3)}, {"messages_refused": ("Refused.", total)})
    metrics.render()
    seen = 42
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert (families["moot_members"].type, families["moot_members"].samples[0].value) == ("gauge", 3)
    refused = families["moot_messages_refused"]
    assert (refused.type, refused.samples[0].name, refused.samples[0].value) == ("counter", "moot_messages_refused_total", 42)
    for family in families.values():
        names = {sample.name for sample in family.samples}
        assert any(name.endswith("_total") for name in names) == (family.type == "counter" and bool(names))
