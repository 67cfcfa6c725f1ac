"""A lab's nodes, as a user meets them."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lab.seeing import Listener, Watch, reach
from lab.waiting import wait_until
from trogdor.lab import Lab, LabError, NodeGone

pytestmark = pytest.mark.lab


def test_a_node_has_a_name_addresses_and_knows_the_others(lab: Lab) -> None:
    node = lab.nodes["n2"]
    assert node.exec(["hostname"]).stdout == "n2\n"
    assert node.exec(["cat", "/etc/hostname"]).stdout == "n2\n"
    hosts = node.exec(["cat", "/etc/hosts"]).stdout
    for other in [*lab.nodes.values(), lab.coordinator]:
        assert f"{other.address}\t{other.name}\n" in hosts
        assert not other.address6 or f"{other.address6}\t{other.name}\n" in hosts
    assert list(lab.nodes) == ["n1", "n2", "n3", "n4", "n5"]


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_nodes_reach_each_other(lab: Lab, protocol: str, ipv6: bool) -> None:
    if ipv6 and not lab.coordinator.address6:
        pytest.skip("the machine has no IPv6")
    with Listener(lab.nodes["n5"]) as listener:
        assert reach(lab.nodes["n1"], listener, protocol, ipv6=ipv6, timeout_s=10) == "open"
        assert reach(lab.coordinator, listener, protocol, ipv6=ipv6, timeout_s=10) == "open"


def test_the_eyes_see_a_cut_and_its_end(lab: Lab) -> None:
    source, target = lab.nodes["n1"], lab.nodes["n2"]
    with Listener(target) as listener, Watch(source, listener) as watch:
        wait_until(lambda: shows(watch, "open"))
        source.exec(["ip", "route", "add", "blackhole", f"{target.address}/32"], check=True)
        try:
            assert reach(source, listener) == "blocked"
            assert reach(source, listener, ipv6=True, timeout_s=10) == "open"
        finally:
            source.exec(["ip", "route", "del", "blackhole", f"{target.address}/32"], check=True)
        assert reach(source, listener, timeout_s=10) == "open"
        wait_until(lambda: shows(watch, "open"))
    sights = [change.sight for change in watch.changes()]
    assert (sights[0], "blocked" in sights, sights[-1]) == ("open", True, "open")


def shows(watch: Watch, sight: str) -> bool:
    return [change.sight for change in watch.changes()][-1:] == [sight]


def test_a_node_s_directories_are_its_own(lab: Lab) -> None:
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    for directory in ("/mnt", "/tmp", "/run", "/dev/shm", "/var/lib/trogdor", "/var/log"):
        one.exec(["touch", f"{directory}/of-n1"], check=True)
        assert "of-n1" not in two.exec(["ls", directory], check=True).stdout
        assert not Path(directory, "of-n1").exists()
        one.exec(["rm", f"{directory}/of-n1"], check=True)
    one.path("/mnt/from-outside").write_text("seen")
    assert one.exec(["cat", "/mnt/from-outside"]).stdout == "seen"
    one.path("/mnt/from-outside").unlink()
    with pytest.raises(ValueError, match="own"):
        one.path("/usr/bin/env")


def test_a_node_s_processes_are_its_own(lab: Lab) -> None:
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    with one.popen(["sleep", "1000"]) as sleeper:
        assert [process.command for process in one.processes()] == ["sleep 1000"]
        assert two.processes() == []
        assert two.exec(["kill", "-9", str(sleeper.pid)]).returncode != 0
        assert sleeper.poll() is None
        assert sleeper.host_pid is not None
        assert Path(f"/proc/{sleeper.host_pid}/cmdline").read_text() == "sleep\x001000\x00"
    assert sleeper.returncode == -signal.SIGKILL
    assert one.processes() == []


def test_a_program_s_end_is_told(lab: Lab) -> None:
    node = lab.nodes["n1"]
    done = node.exec(["sh", "-c", "cat; echo bad >&2; exit 3"], input="hello")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello", "bad\n")
    with pytest.raises(subprocess.CalledProcessError):
        node.exec(["false"], check=True)
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        node.exec(["no-such-program"], env={"PATH": "/usr/bin"})
    with pytest.raises(FileNotFoundError, match="no-such-directory"):
        node.exec(["true"], cwd="/no-such-directory")
    with pytest.raises(subprocess.TimeoutExpired):
        node.exec(["sh", "-c", "sleep 1000; true"], timeout=0.1)
    wait_until(lambda: node.processes() == [])
    killed = node.popen(["sleep", "1000"])
    killed.terminate()
    assert killed.wait(30) == -signal.SIGTERM


def test_what_a_program_writes_is_piped_or_logged(lab: Lab) -> None:
    node = lab.nodes["n1"]
    echo = node.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echo.stdin is not None
    assert echo.stdout is not None
    echo.stdin.write(b"there and back")
    echo.stdin.close()
    assert echo.stdout.read() == b"there and back"
    assert echo.wait(30) == 0
    for word in ("one", "two"):
        assert node.popen(["sh", "-c", f"echo {word}; echo {word}! >&2"], log="words").wait(30) == 0
    assert node.log("words") == "one\none!\ntwo\ntwo!\n"
    assert node.log("none") == ""


def test_a_program_inherits_its_streams_and_nothing_else(lab: Lab) -> None:
    """So who reads what `trogdor lab up` writes sees its end, while the lab's daemons live on."""
    seen = lab.nodes["n1"].exec(["sh", "-c", "ls /proc/$$/fd; true"])
    assert seen.stdout.split() == ["0", "1", "2"]


def test_orphans_are_reaped(lab: Lab) -> None:
    node = lab.nodes["n1"]
    node.exec(["sh", "-c", "for i in 1 2 3; do (sleep 0.01 &) ; done"], check=True)
    wait_until(lambda: node.processes() == [])


def test_a_socket_made_in_a_node_stays_there(lab: Lab) -> None:
    node = lab.nodes["n3"]
    with node.socket() as listening:
        listening.bind((node.address, 0))
        listening.listen()
        port = listening.getsockname()[1]
        with lab.nodes["n1"].connect(node.address, port, timeout=30) as stream:
            assert stream.getpeername() == (node.address, port)
        with socket.socket() as outside:
            outside.settimeout(0.2)
            assert outside.connect_ex((node.address, port)) != 0


def test_everything_is_gone_after_the_block() -> None:
    with Lab(nodes=2) as lab:
        sleepers = [node.popen(["sleep", "1000"]) for node in lab.nodes.values()]
        places = [lab.state, lab.runtime]
        pids = [sleeper.host_pid for sleeper in sleepers] + [node.pid for node in lab.nodes.values()]
        assert all(pid is not None and Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(place.exists() for place in places)
    assert [sleeper.wait(10) for sleeper in sleepers] == [-signal.SIGKILL] * 2
    with pytest.raises(NodeGone):
        lab.nodes["n1"].exec(["true"])
    lab.close()


def test_two_labs_live_side_by_side(lab: Lab) -> None:
    with Lab(nodes=2) as other:
        assert other.name != lab.name
        assert other.nodes["n1"].address == lab.nodes["n1"].address
        with other.nodes["n1"].popen(["sleep", "1000"]), Listener(other.nodes["n2"], port=7100) as listener:
            assert lab.nodes["n1"].processes() == []
            assert reach(other.nodes["n1"], listener, timeout_s=10) == "open"
            assert reach(lab.nodes["n1"], listener, timeout_s=10) == "refused"
        with pytest.raises(LabError, match="up already"):
            Lab(nodes=1, name=other.name)
    assert lab.nodes["n1"].exec(["true"]).returncode == 0


def test_the_machine_s_own_network_and_mounts_are_not_touched(lab: Lab) -> None:
    def machine() -> list[str]:
        commands = (["ip", "-o", "link"], ["ip", "rule"], ["ip", "-6", "rule"], ["ip", "-o", "addr"], ["ip", "route"])
        return [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]

    before = machine()
    with Lab(nodes=3) as other:
        assert machine() == before
        assert str(other.state) not in Path("/proc/self/mountinfo").read_text()
    assert machine() == before


def test_a_state_directory_of_the_user_s_is_kept(tmp_path: Path) -> None:
    for word in ("", "kept"):
        with Lab(nodes=1, state=tmp_path / "state", name=f"kept-{os.getpid()}") as lab:
            note = lab.nodes["n1"].path("/mnt/note")
            assert (note.read_text() if note.exists() else "") == word
            lab.nodes["n1"].exec(["sh", "-c", "printf kept > /mnt/note"], check=True)
    assert (tmp_path / "state/n1/mnt/note").read_text() == "kept"


def test_further_directories_and_shared_ones(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("by the host")
    with Lab(nodes=["a", "b"], directories=["/var/lib/no-such/thing"], share=[tmp_path]) as lab:
        one, two = lab.nodes.values()
        one.exec(["touch", "/var/lib/no-such/thing/x"], check=True)
        assert two.exec(["ls", "/var/lib/no-such/thing"], check=True).stdout == ""
        seen = set(one.exec(["ls", "-A", "/var/lib"]).stdout.splitlines())
        assert seen == {*os.listdir("/var/lib"), "no-such", "trogdor"}
        assert one.exec(["cat", str(tmp_path / "given")]).stdout == "by the host"
    assert not Path("/var/lib/no-such").exists()


def test_a_directory_that_cannot_be_a_node_s_own_is_refused() -> None:
    with pytest.raises(LabError, match="/no-such-root"):
        Lab(nodes=1, directories=["/no-such-root"])


def test_a_killed_node_is_gone_and_the_others_stay() -> None:
    with Lab(nodes=2) as lab:
        pid = lab.nodes["n1"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
        with pytest.raises(NodeGone):
            lab.nodes["n1"].exec(["true"])
        assert lab.nodes["n2"].exec(["true"]).returncode == 0


def test_the_plan_is_kept_for_whoever_attaches(lab: Lab) -> None:
    again = Lab.attach(lab.name)
    assert json.loads((lab.runtime / "lab.json").read_text())["name"] == lab.name
    assert again.nodes["n4"].exec(["hostname"]).stdout == "n4\n"
    assert again.node("coordinator").exec(["hostname"]).stdout == "coordinator\n"
    with pytest.raises(LabError, match="n1, n2"):
        again.node("n9")
    with pytest.raises(LabError, match="no lab 'no-such'"):
        Lab.attach("no-such")
