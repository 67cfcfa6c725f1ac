"""``trogdor agent-client``: upstream's AgentClient, word for word; its worker commands, which never worked, do."""

from typing import Annotated, Any

import typer

from trogdor.cli.commands import plain_app
from trogdor.cli.document import read_document
from trogdor.cli.upstream import (
    AsJson,
    SpecText,
    UpstreamGroup,
    compact_json,
    date_string,
    grid,
    print_uptime,
    target_option,
)

app = plain_app(
    cls=UpstreamGroup,
    no_args_is_help=True,
    help="Upstream's agent client: its commands, its flags, its output, and its exit codes 0 and 1.",
)

Target = Annotated[str, target_option(8888)]
JAVA_STATES = {
    "RECEIVING": "WorkerReceiving",
    "STARTING": "WorkerStarting",
    "RUNNING": "WorkerRunning",
    "STOPPING": "WorkerStopping",
    "DONE": "WorkerDone",
}


def worker_id_option(what: str) -> Any:
    """The option ``--workerId``."""
    return typer.Option("--workerId", metavar="WORKER_ID", min=0, max=2**63 - 1, help=what)


@app.command()
def uptime(target: Target, json: AsJson = False) -> None:
    """Get the agent uptime."""
    from trogdor.client import AgentClient

    print_uptime("Agent", target, AgentClient(target).uptime(), json)


@app.command()
def status(target: Target, json: AsJson = False) -> None:
    """Get the agent status."""
    from trogdor.client import AgentClient

    answer = AgentClient(target).status()
    if json:
        print(compact_json(answer))
        return
    print(f"Agent is running at {target}.")
    print(f"\tStart time: {date_string(answer['serverStartMs'])}")
    workers = sorted(answer.get("workers", {}).items(), key=lambda entry: int(entry[0]))
    rows = [
        (worker_id, worker.get("taskId", ""), JAVA_STATES[worker["state"]], worker["spec"]["class"])
        for worker_id, worker in workers
    ]
    print(grid([("WORKER_ID", "TASK_ID", "STATE", "TASK_TYPE"), *rows]), end="")


@app.command("createWorker")
def create_worker(
    target: Target,
    worker_id: Annotated[int, worker_id_option("The worker ID to create.")],
    task_id: Annotated[str, typer.Option("--taskId", metavar="TASK_ID", help="The task ID to create.")],
    spec: SpecText,
) -> None:
    """Create a new worker; it starts at once."""
    from trogdor.client import AgentClient

    AgentClient(target).create_worker(worker_id, task_id, read_document(spec))
    print(f"Sent CreateWorkerRequest for worker {worker_id}.")


@app.command("stopWorker")
def stop_worker(target: Target, worker_id: Annotated[int, worker_id_option("The worker ID to stop.")]) -> None:
    """Stop a worker."""
    from trogdor.client import AgentClient

    AgentClient(target).stop_worker(worker_id)
    print(f"Sent StopWorkerRequest for worker {worker_id}.")


@app.command("destroyWorker")
def destroy_worker(target: Target, worker_id: Annotated[int, worker_id_option("The worker ID to destroy.")]) -> None:
    """Destroy a worker."""
    from trogdor.client import AgentClient

    AgentClient(target).destroy_worker(worker_id)
    print(f"Sent DestroyWorkerRequest for worker {worker_id}.")


@app.command()
def shutdown(target: Target) -> None:
    """Shut down the agent."""
    from trogdor.client import AgentClient

    AgentClient(target).shutdown()
    print("Sent ShutdownRequest.")
