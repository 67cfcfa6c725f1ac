"""Answers questions: ``{"questions": [{resolve, role, options}], "topology": {…}}`` on standard input.

Writes ``{"answers": [{nodes, how, epoch, tookMs} or {error, tookMs}]}``; always exits 0 when it could read the input.
"""

import json
import os
import sys
import time
from threading import Thread
from typing import Any

from trogdor.resolve import CannotResolve, find
from trogdor.topology import Topology, topology_of


def answer(question: dict[str, Any], topology: Topology) -> dict[str, Any]:
    """The answer to one question; a failure is an answer too."""
    began = time.monotonic()
    try:
        found = find(question["resolve"])(topology, question["role"], question.get("options", {}))
        told: dict[str, Any] = {"nodes": list(found.nodes), "how": found.how, "epoch": found.epoch}
    except CannotResolve as failure:
        told = {"error": str(failure)}
    except Exception as failure:
        told = {"error": f"{type(failure).__name__}: {failure}"}
    return {**told, "tookMs": round((time.monotonic() - began) * 1000, 1)}


def main() -> None:
    """Reads the questions, asks all at once, writes the answers, ends."""
    asked = json.load(sys.stdin)
    topology = topology_of(asked["topology"])
    questions = asked["questions"]
    answers: list[dict[str, Any]] = [{} for _ in questions]

    def fill(number: int) -> None:
        answers[number] = answer(questions[number], topology)

    threads = [Thread(target=fill, args=(number,)) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"answers": answers}), flush=True)
    os._exit(0)  # servers that hang are waited for by nobody


if __name__ == "__main__":
    main()
