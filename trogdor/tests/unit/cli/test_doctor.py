"""``trogdor doctor``: what is missing is named, and what mends it is one line."""

import os

import pytest

from trogdor.cli import trials
from trogdor.cli.doctor import conclusion, paste
from trogdor.cli.trials import Missing, Trial


def trial(name: str, works: bool = False, needed: bool = False, fix: str = "") -> Trial:
    return Trial(name, "something", needed, works, "said", fix)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("user")
def test_fixes_become_one_line_with_packages_together() -> None:
    found = [
        trial("a", fix="apt-get install -y iptables"),
        trial("b", fix="sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        trial("c", fix="apt-get install -y iproute2"),
        trial("d", fix="apt-get install -y iptables"),
        trial("e", works=True),
    ]
    assert paste(found) == (
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 && sudo apt-get install -y iproute2 iptables"
    )
    assert conclusion(found).endswith(paste(found))


def test_what_no_command_mends_is_said() -> None:
    assert conclusion([trial("a", works=True)]) == "Nothing is missing."
    assert conclusion([trial("a")]) == "All that is needed works."
    assert "cannot be had" in conclusion([trial("a", needed=True)])


def test_a_trial_that_breaks_is_a_trial_that_failed() -> None:
    def missing() -> str:
        raise Missing("no tc", "apt-get install -y iproute2")

    def broken() -> str:
        raise ZeroDivisionError

    found = list(
        trials._try_all([("a", "x", True, missing), ("b", "y", False, broken), ("c", "z", True, lambda: "ok")])
    )
    assert [(each.works, each.said, each.fix) for each in found] == [
        (False, "no tc", "apt-get install -y iproute2"),
        (False, "ZeroDivisionError", ""),
        (True, "ok", ""),
    ]


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Missing) as missing:
        trials._has_program("tc")
    assert missing.value.fix == "apt-get install -y iproute2"
