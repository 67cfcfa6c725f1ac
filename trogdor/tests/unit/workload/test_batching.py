"""Flushes and transactions come after as many messages as upstream's."""

import pytest

from trogdor.spec import generators as g
from trogdor.workload.batching import Action, Flushes, IntervalTransactions, transactions


def flushed_after(flushes: Flushes, total: int) -> list[int]:
    return [at + 1 for at in range(total) if flushes.sent(1)]


def test_constant_flush_comes_after_every_so_many() -> None:
    assert flushed_after(Flushes(g.ConstantFlush(messages_per_flush=3)), 10) == [3, 6, 9]


def test_gaussian_flush_draws_each_number_anew_and_never_less_than_one() -> None:
    draws = [0.5, -9.0, 1.0, 0.0]
    flushes = Flushes(
        g.GaussianFlush(messages_per_flush_average=4, messages_per_flush_deviation=2), lambda *_: draws.pop(0)
    )
    assert flushed_after(flushes, 12) == [5, 6, 12]


def test_uniform_transactions_commit_after_every_so_many_and_once_more_at_the_end() -> None:
    wanted = transactions(g.UniformTransactions(messages_per_transaction=2))
    actions = []
    for _ in range(4):
        while (action := wanted.next_action()) is not Action.SEND:
            actions.append(action)
        wanted.sent(1)
        actions.append(action)
    actions.append(wanted.next_action())
    transaction = [Action.BEGIN, Action.SEND, Action.SEND, Action.COMMIT]
    assert actions == transaction * 2


def test_interval_transactions_commit_once_the_time_has_passed() -> None:
    now = [0]
    wanted = IntervalTransactions(100, lambda: now[0])
    assert wanted.next_action() is Action.BEGIN
    now[0] = 99_999_999
    assert wanted.next_action() is Action.SEND
    now[0] = 100_000_000
    assert [wanted.next_action(), wanted.next_action()] == [Action.COMMIT, Action.BEGIN]


@pytest.mark.parametrize("wanted", [g.UniformTransactions(), g.IntervalTransactions()])
def test_a_transaction_of_nothing_is_refused(wanted: g.Transactions) -> None:
    with pytest.raises(ValueError, match="Cannot have"):
        transactions(wanted)
