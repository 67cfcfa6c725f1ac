"""What a lab is to be, and why it cannot be, without making one."""

import errno

import pytest

from trogdor.lab import reasons
from trogdor.lab.plan import Plan, plan_nodes


def test_nodes_have_addresses_of_their_own() -> None:
    nodes = plan_nodes(250, ipv6=True)
    assert len(nodes) == 251
    assert len({address for node in nodes for address, _ in node.addresses}) == 502
    assert len({node.mac for node in nodes}) == 251
    assert (nodes[0].name, nodes[0].address, nodes[-1].name) == ("n1", "10.66.0.1", "coordinator")
    assert plan_nodes(1, ipv6=False)[0].addresses == (("10.66.0.1", 24),)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [(0, "1 to 250"), (251, "1 to 250"), (["a", "a"], "'a'"), (["A"], "'A'"), (["coordinator"], "coordinator")],
)
def test_bad_nodes_are_refused(nodes: int | list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_nodes(nodes, ipv6=True)


def test_a_plan_survives_json() -> None:
    plan = Plan(
        name="lab1",
        nodes=plan_nodes(3, ipv6=True),
        state="/tmp/x",
        runtime="/run/x",
        keep_state=True,
        directories=["/mnt"],
        share=[],
    )
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    with pytest.raises((ValueError, TypeError, KeyError)):
        Plan.from_json("{}")


@pytest.mark.parametrize(
    ("number", "step", "files", "said"),
    [
        (errno.EPERM, "unshare", {"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        (
            errno.EACCES,
            "mount none on /",
            {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
            "apparmor_restrict_unprivileged_userns=0",
        ),
        (errno.ENOSPC, "unshare", {"/proc/sys/user/max_user_namespaces": "0"}, "max_user_namespaces=10000"),
        (errno.EPERM, "unshare", {"/proc/self/status": "Seccomp:\t2"}, "seccomp=unconfined"),
        (errno.EPERM, "unshare", {}, "trogdor doctor"),
        (errno.EOPNOTSUPP, "veth to n1", {}, "modprobe -a bridge veth"),
    ],
)
def test_the_fix_is_said(
    monkeypatch: pytest.MonkeyPatch, number: int, step: str, files: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(reasons, "_read", lambda file: files.get(file, ""))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    text = reasons.explain(number, "reason", step)
    assert text.startswith(f"there can be no lab here: {step}: reason\n")
    assert said in text
