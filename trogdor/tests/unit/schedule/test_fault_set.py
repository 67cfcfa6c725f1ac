"""What is active at a time and what starts or ends next, compared with looking at every fault."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trogdor.compose.fault_set import FaultSet

Span = tuple[int, int]
spans = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)).map(lambda pair: (pair[0], sum(pair))), max_size=40)
times = st.integers(-1, 90)
laws = settings(deadline=None, derandomize=True, max_examples=50)


def ordered(faults: list[Span]) -> FaultSet[Span]:
    return FaultSet(faults, lambda fault: fault[0], lambda fault: fault[1])


@laws
@given(spans, times)
def test_active_are_those_that_have_started_and_not_ended(faults: list[Span], at: int) -> None:
    assert ordered(faults).active(at) == sorted(fault for fault in faults if fault[0] <= at < fault[1])


@laws
@given(spans, times, times)
def test_between_are_those_that_overlap(faults: list[Span], begin: int, end: int) -> None:
    assert ordered(faults).between(begin, end) == sorted(f for f in faults if f[0] < end and f[1] > begin)


@laws
@given(spans, times)
def test_next_is_the_first_after_the_time(faults: list[Span], after: int) -> None:
    found = ordered(faults)
    starts, ends = found.starts_next(after), found.ends_next(after)
    assert (starts and starts[0]) == min((fault[0] for fault in faults if fault[0] > after), default=None)
    assert (ends and ends[1]) == min((fault[1] for fault in faults if fault[1] > after), default=None)


@laws
@given(spans)
def test_most_at_once_is_the_most_that_any_start_sees(faults: list[Span]) -> None:
    most = max((sum(a <= start < b for a, b in faults) for start, _ in faults), default=0)
    assert ordered(faults).most_at_once() == most
