"""``trogdor agent --exec SPEC``: one task in the foreground, as upstream's."""

import asyncio
import json
from pathlib import Path

from trogdor.agent.daemon import Agent, Options, open_agent, serve_until_signalled
from trogdor.cli.exits import ExitCode, Failure
from trogdor.http.server import run as run_loop
from trogdor.spec import Spec, SpecError
from trogdor.wire.errors import RequestRefused
from trogdor.wire.messages import CreateWorkerRequest
from trogdor.wire.read import read_json, read_spec

WORKER_ID = 1
TASK_ID = "task0"


def run(options: Options, text: str) -> int:
    """Runs the task that JSON, or the file of this name, describes; 0 if it succeeded. Raises Failure and others."""
    spec = _spec_of(text)
    try:
        spec.check(options.topology)
        targets = spec.target_nodes(options.topology)
    except SpecError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    if options.node.name not in targets:
        raise Failure(
            ExitCode.BAD_USAGE,
            "This task is not configured to run on this node.  It runs on node(s): "
            f"{', '.join(targets)}, whereas this node is {options.node.name}",
        )
    return int(run_loop(_run(open_agent(options), spec)))


def _spec_of(text: str) -> Spec:
    try:
        body = text if text.lstrip().startswith("{") else Path(text).read_text()
        return read_spec(read_json(body.encode()))
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"{text}: {error.strerror}: a spec as JSON or a file is wanted") from None
    except RequestRefused as error:
        raise Failure(ExitCode.BAD_USAGE, f"Unable to parse the supplied task spec. {error}") from None


async def _run(agent: Agent, spec: Spec) -> int:
    serving = asyncio.create_task(serve_until_signalled(agent))
    await asyncio.wait([serving, asyncio.create_task(agent.answering.wait())], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    spec = spec.at(max(agent.clock.wall_ms(), spec.start_ms))
    await agent.workers.create(CreateWorkerRequest(worker_id=WORKER_ID, task_id=TASK_ID, spec=spec), "")
    print(f"Waiting for completion of task:{json.dumps(spec.to_json(), indent=2)}", flush=True)
    worker = agent.workers.find(WORKER_ID)
    assert worker is not None
    await worker.done.wait()
    status = json.dumps(worker.work.status, indent=2)
    if worker.error:
        print(f"Task failed with status {status} and error {worker.error}", flush=True)
    else:
        print(f"Task succeeded with status {status}", flush=True)
    agent.shut_down()
    await serving
    return 1 if worker.error else 0
