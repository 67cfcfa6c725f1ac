"""Wrong specs are told of in words that somebody who has never seen the code can act on."""

from typing import Any

import pytest
from pydantic import ValidationError

from trogdor.spec import parse
from trogdor.spec.problems import problems_in, shown

CUT = {"class": "CutLinksFaultSpec"}
PAUSE = {"class": "ProcessPauseFaultSpec"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**CUT}, ["links: is missing"]),
        ({**CUT, "links": []}, ["links: at least 1 wanted, not 0"]),
        ({**CUT, "links": {}, "bogus": 1}, ["links: a list is wanted", "bogus: there is no such field"]),
        (
            {**CUT, "links": [{"from": "n 1", "to": 2, "ports": ["x", True], "action": "lose"}]},
            [
                "links[0].from: 'n 1' is no node, address, CIDR or DNS name (with ! before it: all but that)",
                "links[0].to: a string is wanted",
                "links[0].ports[0]: 'x' is no port (9092) and no range of ports (9092-9094)",
                "links[0].ports[1]: a string is wanted",
                "links[0].action: wanted is 'drop' or 'reject'",
            ],
        ),
        ({**PAUSE, "nodeNames": "n1", "match": 7}, ["nodeNames: a list is wanted", "match: an object is wanted"]),
        (
            {**PAUSE, "nodeNames": ["n1"], "match": {"name": "x"}, "maxProcesses": 0},
            ["maxProcesses: at least 1 is wanted"],
        ),
    ],
)
def test_every_problem_is_told_with_its_path_and_without_pythons_words(
    document: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        parse(document)
    assert [f"{shown(path)}: {message}" for path, message in problems_in(refused.value)] == said


def test_a_port_may_be_a_number() -> None:
    link = {"from": "n1", "to": "n2", "ports": [2379, "9092-9094"], "protocol": "tcp"}
    assert parse({**CUT, "links": [link]}).to_json()["links"][0]["ports"] == ["2379", "9092-9094"]
