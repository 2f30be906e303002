"""What is counted without locks is told as prometheus_client would tell it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from recsys_server.meters import Counts, Durations

BOUNDS = (0.0005, 0.01, 1.0)
CALLS = st.tuples(
    st.sampled_from(["Recommend", "RankItems"]),
    st.sampled_from(["OK", "INTERNAL"]),
    st.sampled_from([0.0, *BOUNDS]) | st.floats(0, 5),
)


def told(registry):
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line.split()[0] if "_created{" in line else line for line in lines)


@given(st.lists(CALLS, max_size=20))
@settings(max_examples=100, deadline=None)
def test_counts_and_durations_are_those_of_the_client_library(calls):
    expected, registry = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "Time.", ["method"], registry=expected, buckets=BOUNDS)
    counter = Counter("calls", "Calls.", ["method", "code"], registry=expected)
    durations = Durations("seconds", "Time.", "method", BOUNDS, registry, lambda: 1.0, ["Recommend"])
    counts = Counts("calls", "Calls.", ("method", "code"), registry, lambda: 1.0)
    histogram.labels("Recommend")
    for method, code, seconds in calls:
        histogram.labels(method).observe(seconds)
        durations.observe(method, seconds)
        counter.labels(method, code).inc()
        counts.add(method, code)
    assert told(registry) == told(expected)
