"""``trogdor plan``: what a spec would do to each node."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli import options
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import bad, bold, doubtful, good, print_json
from trogdor.cli.run import SpecArgument, read_spec
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.topology import Topology


def command(
    spec: SpecArgument,
    *,
    target: Target = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="Ask no daemon: plan from this configuration file, as seen from here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows what a spec would do, node by node, and changes nothing.

    For each node: what is claimed of which resource, what undoes each claim if the agent dies, what a probe should
    see, and what is missing there. With -c no daemon is asked; addresses and processes are then those seen from here.
    """
    document = options.When().put_into(read_spec(spec), 0)
    if config is None:
        with coordinator(target) as client:
            from trogdor.cli.foreground import refusal

            answer = client.plan("plan", document)
            if answer["problems"]:
                raise refusal(client, answer["problems"])
        plans = answer["plans"]
    else:
        plans = plans_from_here(document, config)
    if as_json:
        print_json(plans)
    else:
        print("\n\n".join("\n".join(_lines(node, plan)) for node, plan in plans.items()))
    if any(plan["problem"] for plan in plans.values()):
        raise SystemExit(int(ExitCode.IMPOSSIBLE))


def plans_from_here(document: dict[str, Any], config: Path) -> dict[str, Any]:
    """Node → plan, without a daemon. Raises Failure with every problem of spec or file."""
    from pydantic import ValidationError

    from trogdor.platform import here
    from trogdor.platform.base import Scene
    from trogdor.platform.preview import preview
    from trogdor.spec import SpecError, parse
    from trogdor.spec.problems import problems_in, shown
    from trogdor.topology import TopologyError, read_topology

    try:
        topology: Topology = read_topology(config)
        spec = parse(document)
        spec.check(topology)
        names = spec.target_nodes(topology)
    except ValidationError as error:
        problems = [f"{shown(path)}: {message}" for path, message in problems_in(error)]
        raise Failure(ExitCode.BAD_USAGE, "the spec cannot be read:\n  " + "\n  ".join(problems)) from None
    except (TopologyError, SpecError) as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"{config}: {error.strerror}") from None
    return {name: preview(here(), spec, Scene(topology.nodes[name], topology)) for name in names}


def _lines(node: str, plan: dict[str, Any]) -> list[str]:
    lines = [bold(node)]
    if plan["problem"]:
        lines.append(f"  {bad('cannot')}: {plan['problem']}")
    lines += [f"  lacks {what}: {why}" for what, why in (plan.get("lacks") or {}).items()]
    for claim in plan["claims"]:
        wants = json.dumps(claim["want"], ensure_ascii=False)
        lines += [f"  claims {claim['kind']} {claim['key']}", f"    wants  {wants}"]
    for kind, (nets, how) in {claim["kind"]: (claim["undoneBy"], claim["how"]) for claim in plan["claims"]}.items():
        lines.append(f"  {kind} is undone by {', '.join(nets)}: {how}")
    lines += [f"  {good('probe')}  {expected}" for expected in plan.get("probe") or ()]
    if plan["unverified"]:
        lines.append(f"  {doubtful('unverified')}: {plan['unverified']}")
    return lines if len(lines) > 1 else [*lines, "  nothing is claimed of this node"]
