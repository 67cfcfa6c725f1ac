"""What the docs show of tests is what there is: the examples word for word, and a job of GitHub Actions."""

import argparse
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from trogdor.testing import plugin

REPOSITORY = Path(__file__).parents[3]
WRITTEN = re.search(r"```yaml\n(jobs:.*?)```", (REPOSITORY / "docs/pytest.md").read_text(), re.DOTALL)
assert WRITTEN is not None
JOB: dict[str, Any] = yaml.safe_load(WRITTEN[1])["jobs"]["faults"]


EXAMPLES = "".join(path.read_text() for path in sorted((REPOSITORY / "examples/tests").glob("*.py")))
SHOWN = [
    (page, shown)
    for page in ("README.md", "docs/pytest.md", "docs/kafka.md")
    for shown in re.findall(r"^(@pytest\.mark\.lab.*?)^```$", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize(("page", "shown"), SHOWN, ids=[page for page, _ in SHOWN])
def test_a_test_that_a_page_shows_is_one_of_the_examples(page: str, shown: str) -> None:
    assert shown in EXAMPLES


def test_every_page_shows_one() -> None:
    assert [page for page, _ in SHOWN] == ["README.md", "docs/pytest.md", "docs/pytest.md", "docs/kafka.md"]


def command(word: str) -> str:
    """The line of the job that has this word in it."""
    (found,) = [step["run"] for step in JOB["steps"] if word in step.get("run", "")]
    return str(found)


def test_it_runs_where_the_docs_say_and_keeps_what_failed_tests_left() -> None:
    assert JOB["runs-on"] == "ubuntu-24.04"
    keeps = next(step for step in JOB["steps"] if "upload-artifact" in step.get("uses", ""))
    assert keeps["if"] == "failure()"
    assert f"--trogdor-artifacts {keeps['with']['path']}" in command("pytest")
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in JOB["steps"] if "uses" in step)


def test_what_it_installs_is_an_extra_of_ours_and_packages_that_the_set_up_knows() -> None:
    project = tomllib.loads((REPOSITORY / "trogdor/pyproject.toml").read_text())["project"]
    name, extra = re.findall(r"'(\w+)\[(\w+)\]'", command("pip install"))[0]
    assert (name, extra in project["optional-dependencies"]) == (project["name"], True)
    known = (REPOSITORY / "tools/setup").read_text()
    packages = command("apt-get install").partition("-y ")[2].split()
    assert [each for each in packages if each not in known] == []


def test_its_options_are_those_of_the_plugin() -> None:
    class Options(argparse.ArgumentParser):
        def getgroup(self, *_: str) -> "Options":
            return self

        addoption = argparse.ArgumentParser.add_argument

    parser = Options()
    plugin.pytest_addoption(parser)  # type: ignore[arg-type]
    told = parser.parse_args(command("pytest").partition("pytest ")[2].split())
    assert told.trogdor_require
