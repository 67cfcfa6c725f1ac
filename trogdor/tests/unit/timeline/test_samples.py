"""Samples of workloads: what a status counts, what that is a second, and that a long run stays small."""

import math

from trogdor.timeline.samples import MOST_SAMPLES, Sample, Track, rates, sample_of, sampled


def test_upstreams_counters_are_known_and_several_consumers_are_summed() -> None:
    assert sample_of({"totalSent": 30, "averageLatencyMs": 2.5}, 7) == (7, 30, 2.5)
    two = {"c0": {"totalMessagesReceived": 10, "averageLatencyMs": 1.0}, "c1": {"totalMessagesReceived": 30,
           "averageLatencyMs": 3.0}}  # fmt: skip
    assert sample_of(two, 7) == (7, 40, 2.5)
    for other in (None, "active", {"verdict": "seen"}, {"totalSent": "many"}):
        assert sample_of(other, 7) is None


def test_a_rate_and_the_mean_of_each_interval_are_told_not_those_since_the_beginning() -> None:
    per_s, took = rates("t n1", [Sample(0, 100, 2.0), Sample(1000, 200, 4.0), Sample(3000, 400, 3.0)])
    assert (per_s.unit, per_s.points) == ("/s", ((1000, 100), (3000, 100)))
    assert (took.unit, took.points) == ("ms", ((1000, 6.0), (3000, 2.0)))


def test_a_stalled_workload_has_a_rate_of_zero_and_no_latency() -> None:
    per_s, took = rates("t", [Sample(0, 100, 2.0), Sample(1000, 110, 2.0), Sample(2000, 110, 2.0)])
    assert per_s.points == ((1000, 10), (2000, 0))
    assert len(took.points) == 1


def test_a_worker_is_sampled_once_a_second_though_its_reports_jitter() -> None:
    track = Track()
    taken = [at for at in range(0, 60_000, 10) if track.is_due(at)]
    assert 59 <= len(taken) <= 61
    track = Track()
    jittery = [number * 1000 + (-30 if number % 2 else 30) for number in range(60)]
    assert sum(track.is_due(at) for at in jittery) == 60


def test_a_track_stays_small_and_spans_the_whole_run() -> None:
    track = Track()
    for second in range(100_000):
        track.add(Sample(second * 1000.0, second * 5.0))
    samples = list(track)
    assert len(samples) < MOST_SAMPLES
    assert samples[0].at_ms == 0
    assert samples[-1].at_ms > 99_000_000
    (rate,) = rates("t", samples)
    assert {per_s for _, per_s in rate.points} == {5.0}
    assert track.overlaps(50_000_000, 50_000_001)
    assert not track.overlaps(200_000_000, 300_000_000)


def test_an_event_that_is_a_sample_and_the_end_of_a_workload_are_read_alike() -> None:
    sample = sampled({"type": "sample", "atMs": 5, "count": 3.0})
    assert sample is not None
    assert (sample.total, math.isnan(sample.mean_ms)) == (3.0, True)
    assert sampled({"type": "worker", "atMs": 5, "status": {"count": 4}}) is not None
    assert sampled({"type": "task", "atMs": 5}) is None
