"""What Kafka does with a broker that reaches the controllers but no other broker: a real cluster on three nodes."""

import pytest

from trogdor.testing import recovers


@pytest.mark.lab(nodes=3, recipe="kafka")
def test_a_broker_without_the_others_keeps_its_partition_but_acknowledges_nothing(lab, fault):
    ledger = lab.kafka.ledger("orders")
    leader = lab.kafka.leader("orders")
    others, brokers = lab.others(leader), {"ports": ["9092"], "protocol": "tcp"}
    with ledger.running():
        recovers(ledger.acknowledged, within="60s")
        with fault.cut(leader, others, **brokers), fault.cut(others, leader, **brokers):
            recovers(lambda: lab.kafka.in_sync("orders") == [leader], within="60s")
            sent, acknowledged = len(ledger.sent()), ledger.acknowledged()
            recovers(lambda: len(ledger.sent()) > sent + 100, within="60s")
            assert ledger.acknowledged() == acknowledged
            assert lab.kafka.leader("orders") == leader
        recovers(lambda: len(lab.kafka.in_sync("orders")) == 3, within="60s")
    assert ledger.lost() == []
