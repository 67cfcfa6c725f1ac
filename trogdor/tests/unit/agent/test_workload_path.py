"""Where the program of a workload finds its modules."""

import subprocess
from pathlib import Path

from trogdor.agent.workloads import command_of
from trogdor.spec import parse
from trogdor.topology import Node


def test_a_workload_imports_nothing_from_the_directory_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "trogdor.py").write_text("raise SystemExit('a stranger')")
    *python, _, _ = command_of(parse({"class": "ProduceBenchSpec", "producerNode": "n1"}), Node("n1", "n1")).argv
    done = subprocess.run([*python, "-c", "import trogdor"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
