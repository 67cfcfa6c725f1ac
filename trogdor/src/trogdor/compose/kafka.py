"""Faults of Kafka as general faults of the nodes that play a part in it."""

from collections.abc import Callable, Sequence
from typing import Any

from trogdor.compose.question import Answer, Question
from trogdor.spec import Spec, SpecError
from trogdor.spec.files import FilesUnreadableFaultSpec
from trogdor.spec.kafka import (
    BrokerKillFaultSpec,
    ControllerPartitionFaultSpec,
    ControllerSuspendFaultSpec,
    CoordinatorFaultSpec,
    IsrShrinkFaultSpec,
    KafkaFaultSpec,
    KillsBrokers,
    PartitionLeaderFaultSpec,
    ZooKeeperPartitionFaultSpec,
)
from trogdor.spec.network import CutLinksFaultSpec, Link
from trogdor.spec.process import ProcessKillFaultSpec, ProcessMatch, ProcessPauseFaultSpec

Answers = Sequence[Answer]


def ask(spec: KafkaFaultSpec, target: str, **arguments: Any) -> Question:
    """A question to the cluster that a spec is about."""
    whom = {"bootstrapServers": spec.bootstrap_servers, "caFile": spec.ca_file, **arguments}
    return Question("kafka", target, {name: value for name, value in whom.items() if value != ""})


def _suspended(nodes: Sequence[str], java_main: str) -> list[Spec]:
    return [ProcessPauseFaultSpec(node_names=tuple(nodes), match=ProcessMatch(java_main=java_main))] if nodes else []


def killed(spec: KillsBrokers, nodes: Sequence[str]) -> list[Spec]:
    """The brokers of these nodes, killed and started again."""
    return [
        ProcessKillFaultSpec(
            node_names=tuple(nodes),
            match=ProcessMatch(java_main=spec.java_main),
            signal=spec.signal,
            restart_command=spec.restart_command,
        )
    ]


def _cut(links: Sequence[Link]) -> list[Spec]:
    return [CutLinksFaultSpec(links=tuple(links))] if links else []


def _to_port(source: str, target: str, port: int) -> Link:
    return Link(from_=source, to=target, ports=(str(port),), protocol="tcp")


def servers_cut_off(clients: Sequence[str], servers: Sequence[str], port: int, direction: str) -> list[Link]:
    """What clients send to a port of servers (``to``), what these send back (``from``), or both, is lost.

    ``to`` alone leaves TCP no way to go on, and touches no other port. What comes back has no port of its own: it is
    all that the server's node sends to the client's over TCP. A node that is both keeps what it tells itself.
    """
    links = []
    for client in clients:
        for server in servers:
            if client != server and direction in ("both", "to"):
                links.append(_to_port(client, server, port))
            if client != server and direction in ("both", "from"):
                links.append(Link(from_=server, to=client, protocol="tcp"))
    return links


def _leader_questions(spec: PartitionLeaderFaultSpec) -> list[Question]:
    asked = [ask(spec, "leader", topic=spec.topic, partition=spec.partition)]
    if spec.action == "isolate":
        asked.append(ask(spec, "followers", topic=spec.topic, partition=spec.partition))
    return asked


def _leader_children(spec: PartitionLeaderFaultSpec, answers: Answers) -> list[Spec]:
    leader = answers[0].nodes
    if spec.action == "suspend":
        return _suspended(leader, spec.java_main)
    if spec.action == "kill":
        return [ProcessKillFaultSpec(node_names=leader, match=ProcessMatch(java_main=spec.java_main))]
    if spec.action == "disk":
        return [
            FilesUnreadableFaultSpec(
                node_names=leader, mount_path=spec.mount_path, prefix=spec.prefix, error_code=spec.error_code
            )
        ]
    return _cut([_to_port(follower, leader[0], spec.port) for follower in answers[1].nodes])


def _isr_questions(spec: IsrShrinkFaultSpec) -> list[Question]:
    named = {"topic": spec.topic, "partition": spec.partition}
    return [ask(spec, "leader", **named), ask(spec, "in-sync-followers", **named)]


def _isr_children(spec: IsrShrinkFaultSpec, answers: Answers) -> list[Spec]:
    (leader,), followers = answers[0].nodes, sorted(answers[1].nodes)
    return _cut([_to_port(follower, leader, spec.port) for follower in followers[spec.keep - 1 :]])


def _named_or_asked(spec: KafkaFaultSpec, named: Sequence[str], target: str) -> list[Question]:
    return [] if named else [ask(spec, target)]


def _zookeeper_children(spec: ZooKeeperPartitionFaultSpec, answers: Answers) -> list[Spec]:
    brokers = spec.node_names or answers[0].nodes
    return _cut(servers_cut_off(brokers, spec.zookeeper_nodes, spec.port, spec.direction))


def _controller_questions(spec: ControllerPartitionFaultSpec) -> list[Question]:
    return [
        *_named_or_asked(spec, spec.node_names, "brokers"),
        *_named_or_asked(spec, spec.controller_nodes, "voters"),
    ]


def _controller_children(spec: ControllerPartitionFaultSpec, answers: Answers) -> list[Spec]:
    brokers = spec.node_names or answers[0].nodes
    controllers = spec.controller_nodes or answers[-1].nodes
    return _cut(servers_cut_off(brokers, controllers, spec.port, spec.direction))


FAULTS: dict[type[Spec], tuple[Callable[[Any], list[Question]], Callable[[Any, Answers], list[Spec]]]] = {
    ControllerSuspendFaultSpec: (
        lambda spec: [ask(spec, "controller", zookeeper=spec.zookeeper)],
        lambda spec, answers: _suspended(answers[0].nodes, spec.java_main),
    ),
    PartitionLeaderFaultSpec: (_leader_questions, _leader_children),
    BrokerKillFaultSpec: (
        lambda spec: [ask(spec, "broker", id=number) for number in spec.broker_ids],
        lambda spec, answers: killed(spec, spec.node_names or [name for each in answers for name in each.nodes]),
    ),
    IsrShrinkFaultSpec: (_isr_questions, _isr_children),
    CoordinatorFaultSpec: (
        lambda spec: [ask(spec, "coordinator", group=spec.group, transactionalId=spec.transactional_id)],
        lambda spec, answers: _suspended(answers[0].nodes, spec.java_main),
    ),
    ZooKeeperPartitionFaultSpec: (
        lambda spec: _named_or_asked(spec, spec.node_names, "brokers"),
        _zookeeper_children,
    ),
    ControllerPartitionFaultSpec: (_controller_questions, _controller_children),
}
"""For each fault what must be asked, and the general faults that the answers make of it."""


def questions(spec: KafkaFaultSpec) -> list[Question]:
    """Which nodes must be known before ``children``; none where the spec names them."""
    return FAULTS[type(spec)][0](spec)


def children(spec: KafkaFaultSpec, answers: Answers) -> list[Spec]:
    """The general faults, without times. Raises SpecError when the answers leave nothing to do."""
    made = FAULTS[type(spec)][1](spec, answers)
    if not made:
        raise SpecError(f"there is nothing to do: {'; '.join(answer.how for answer in answers)}")
    return made
