"""What a spec would do to a node: facts looked up and planned as for a worker, carried out by nobody."""

import importlib
from typing import Any

from trogdor.claim.model import CannotInject, Net, Term
from trogdor.claim.resource import Resource
from trogdor.platform.base import Platform, Scene
from trogdor.probe.expect import (
    CallFails,
    CallSlow,
    DataDamaged,
    Expectation,
    FileExpectation,
    LinkCut,
    LinkLossy,
    LinkNarrow,
    LinkReordered,
    LinkSlow,
    ProcessGone,
    ProcessStopped,
    ReadFails,
    RoomLeft,
)
from trogdor.spec import Spec, SpecError

Json = Any

NOBODY = Term("plan", 0, 0, 1)


def preview(platform: Platform, spec: Spec, scene: Scene) -> dict[str, Json]:
    """``{claims: [{kind, key, want, undoneBy, how}], targets, probe, unverified, lacks, problem}``; changes nothing.

    ``problem`` says why the node could not do it; ``lacks`` what it needs and is missing. Looks at the node: slow.
    """
    shown: dict[str, Json] = {"claims": [], "targets": [], "probe": [], "unverified": "", "problem": ""}
    fault = platform.faults.get(type(spec))
    others = {*platform.kinds} - {*(fault.kinds if fault else ())}
    shown["lacks"] = {name: why for name, why in platform.missing().items() if name not in others}
    if fault is None:
        return shown
    try:
        plan = fault.plan(spec, scene, fault.facts(spec, scene), NOBODY)
    except (CannotInject, SpecError, OSError) as error:
        return {**shown, "problem": str(error)}
    for claim in plan.claims:
        resource = resource_of(platform, claim.kind)
        net = {"undoneBy": nets_of(resource), "how": resource.undone_by}
        shown["claims"].append({"kind": claim.kind, "key": claim.key, "want": claim.want, **net})
    probe = [_say(expected) for expected in plan.expect]
    return {**shown, "targets": list(plan.targets), "probe": probe, "unverified": plan.unverified}


def resource_of(platform: Platform, kind: str) -> type[Resource]:
    """The class of a kind of resources, its module imported now."""
    module, _, name = platform.kinds[kind].partition(":")
    found: type[Resource] = getattr(importlib.import_module(module), name)
    return found


def nets_of(resource: type[Resource]) -> list[str]:
    """The nets that cover a kind of resources, the fastest first."""
    return [net.value for net in Net if net in resource.nets]


def _packets(protocol: str, word: str = "packets") -> str:
    return word if protocol == "any" else f"{protocol} {word}"


def _say(expected: Expectation) -> str:
    match expected:
        case LinkCut():
            what = _packets(expected.protocol, "new connections" if expected.new_only else "packets")
            ports = f" to ports {', '.join(expected.ports)}" if expected.ports else ""
            return f"no {what}{ports} from {expected.source} arrive at {expected.target}"
        case LinkSlow():
            what = _packets(expected.protocol)
            return f"{what} from {expected.source} arrive at {expected.target} {expected.delay_ms:g} ms later"
        case LinkNarrow():
            return f"packets from {expected.source} arrive at {expected.target} at {expected.rate_kbit} kbit/s at most"
        case LinkReordered():
            return f"packets from {expected.source} overtake each other on their way to {expected.target}"
        case LinkLossy():
            chances = ((expected.lost, "do not arrive"), (expected.twice, "arrive twice"))
            what = " and ".join(f"{chance:.1%} {word}" for chance, word in chances if chance)
            return f"of {_packets(expected.protocol)} from {expected.source} to {expected.target} {what}"
        case ProcessGone():
            after = {"same": ", and one like it runs after the end", "other": ", and its program runs after the end"}
            return f"process {expected.pid} is gone{after.get(expected.again, '')}"
        case ProcessStopped():
            return f"process {expected.pid} is stopped"
        case _:
            return _say_of_files(expected)


def _say_of_files(expected: FileExpectation) -> str:
    if isinstance(expected, ReadFails):
        return f"reading {expected.path} fails with errno {expected.code}"
    file = f"a file without a name in {expected.directory}"
    match expected:
        case CallFails():
            return f"{expected.call} of {file} fails with errno {expected.code}"
        case CallSlow():
            return f"{expected.call} of {file} takes {expected.delay_ms:g} ms or longer"
        case DataDamaged():
            return f"of {file} is not read what was written"
        case RoomLeft():
            return f"statfs of {file} tells of room for at most {expected.room} bytes"
