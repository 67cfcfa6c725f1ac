"""What a platform is: for each spec class, facts to look up, a pure plan that returns claims, and what to expect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.claim.place import Place
from trogdor.probe.expect import Expectation
from trogdor.spec import Spec
from trogdor.topology import Node, Topology

__all__ = ["CannotInject", "Fault", "Plan", "Platform", "Scene"]


@dataclass(frozen=True)
class Scene:
    """What every plan may know without looking at the node."""

    node: Node
    topology: Topology
    place: Place = field(default_factory=Place.here)
    """The node's namespaces: facts are looked up in them."""
    exempt: tuple[tuple[str, int], ...] = ()
    """Flows never to be cut: (coordinator's address, this agent's own listening port)."""
    probe_ports: Mapping[str, int] | None = None
    """Node name → its agent's probe port, as far as known."""


@dataclass(frozen=True)
class Plan:
    """One node's share of a spec: claims on its resources, and what a probe should see while they hold."""

    claims: Sequence[Claim]
    expect: Sequence[Expectation]
    targets: Sequence[str] = ()
    """What was hit, in words for the status: ``n2 → n1``, ``etcd (pid 17)``."""
    unverified: str = ""
    """Why a probe can see nothing of this, where it cannot."""
    notes: Sequence[str] = ()
    """What else a reader of the status should know."""


@dataclass(frozen=True)
class Fault:
    """How one platform carries out one spec class."""

    spec: type[Spec]
    facts: Callable[[Any, Scene], Any]
    """Looks at the node: addresses, processes. Slow, off the event loop. Raises CannotInject."""
    plan: Callable[[Any, Scene, Any, Term], Plan]
    """``plan(spec, scene, facts, term)``: pure. Raises SpecError."""
    text: tuple[str, str]
    """Upstream's status words while it holds and after: ``str.format`` with ``spec`` and ``task_id``."""
    kinds: tuple[str, ...] = ()
    """The kinds of resources that it may claim: what undoes the fault is what undoes these."""
    checked_by: str = ""
    """One sentence: what the probe looks at."""
    replan_ms: int = 0
    """While the fault holds, facts are looked up and planned again this often; 0: never. Claims whose id is new are
    admitted and fired; those that are planned no longer stay. An error then is none of the task's."""


class Platform(Protocol):
    """One platform: its faults by spec class, and its kinds of resources by the name of their factory."""

    name: str
    kinds: Mapping[str, str]
    """Kind of claim → ``module:Class`` of its resource; loaded only when a journal or a plan names the kind."""

    @property
    def faults(self) -> Mapping[type[Spec], Fault]:
        """Spec class → how it is carried out."""

    def missing(self) -> Mapping[str, str]:
        """What this machine lacks, by name, and where to get it: for ``/agent/features`` and ``doctor``."""
