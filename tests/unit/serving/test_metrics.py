"""What is gathered reaches Prometheus as if it had been observed at once."""

from __future__ import annotations

import asyncio
import random

from prometheus_client import CollectorRegistry, Histogram

from polarity.serving import metrics
from polarity.serving.batcher import BatchDispatch


def test_many_values_are_observed_as_one_by_one() -> None:
    draw = random.Random(3)
    values = [0.0, 0.1, 0.5, 1.0, 1e9, *(draw.expovariate(4) for _ in range(1000))]
    together, single = (
        Histogram("seconds", "Seconds.", buckets=(0.1, 0.5, 1.0), registry=CollectorRegistry()) for _ in range(2)
    )
    metrics.observe_all(together, values)
    for value in values:
        single.observe(value)
    found, expected = (
        {
            (sample.name, *sample.labels.values()): sample.value
            for family in histogram.collect()
            for sample in family.samples
        }
        for histogram in (together, single)
    )
    total, expected_total = found.pop(("seconds_sum",)), expected.pop(("seconds_sum",))
    assert abs(total - expected_total) < 1e-6 * expected_total
    created = ("seconds_created",)
    assert {**found, created: 0} == {**expected, created: 0} and found[("seconds_bucket", "0.1")] > 2


def test_gathered_values_are_passed_on_in_time() -> None:
    def seen() -> tuple[float, float, float]:
        samples = {
            (sample.name, sample.labels.get("route"), sample.labels.get("status")): sample.value
            for family in metrics.FAMILIES
            for metric in family.collect()
            for sample in metric.samples
        }
        return (
            samples.get(("polarity_requests_total", "/gathered", "200"), 0.0),
            samples.get(("polarity_request_seconds_count", "/gathered", None), 0.0),
            samples.get(("polarity_model_seconds_count", None, None), 0.0),
        )

    async def answer() -> None:
        watch = metrics.BatchMetrics()
        for _ in range(3):
            watch.dispatched(BatchDispatch("idle", 4, 0.01))
            watch.completed(4, 0.002)
            metrics.answered("/gathered", 200, 0.01)
        metrics.answered("/gathered", 429, 0.01)
        await asyncio.sleep(0.3)

    metrics.flush()  # what another test has left
    requests, seconds, batches = seen()
    asyncio.run(answer())
    assert seen() == (requests + 3, seconds + 3, batches + 3)
