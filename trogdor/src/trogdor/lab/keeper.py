"""The processes that hold a lab.

    owner ─ guard ─ init (pid 1 of the lab) ┬ pid 1 of n1 ─ …
                                            └ pid 1 of n2 ─ …

The guard lives outside the lab. It ends the lab when the owner has ended, in whatever way, when it is
told to by a signal, or when init has died, and removes the lab's files. Init dies with the guard, and
the kernel ends every process of the lab with init.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys

from trogdor.lab import kernel, mounts
from trogdor.lab.node_init import NodeInit, set_up
from trogdor.lab.plan import NodePlan, Plan
from trogdor.lab.rtnetlink import Rtnetlink, bridge, veth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_BACKLOG = 128
_NODE = kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC


def main() -> NoReturn:
    """Run the guard. Arguments: the plan's file; descriptors of lock, report pipe, owner (-1: nobody).

    The report is `[]` when all nodes are up, else a JSON list: errno, its text, the step that failed.
    """
    with open(sys.argv[1]) as file:
        plan = Plan.from_json(file.read())
    lock, report, owner = (int(argument) for argument in sys.argv[2:5])
    for descriptor in (lock, report, owner):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    os.write(lock, str(os.getpid()).encode())
    kernel.name_process(f"lab {plan.name}")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        init = _start_init(plan, report)
        _wait_for_any(woken, init, *([owner] if owner >= 0 else []))
        signal.pidfd_send_signal(init, signal.SIGKILL)
        os.waitid(os.P_PIDFD, init, os.WEXITED)
    except Exception as error:
        _tell(report, error)
    finally:
        import shutil

        shutil.rmtree(plan.runtime, ignore_errors=True)
        if not plan.keep_state:
            shutil.rmtree(plan.state, ignore_errors=True)
    sys.exit(0)


def _wait_for_any(*descriptors: int) -> None:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll()


def _tell(report: int, error: Exception) -> None:
    if isinstance(error, OSError):
        said = [error.errno or 0, error.strerror or str(error), str(error.filename or "its sockets")]
    else:
        said = [0, repr(error), "setting up"]
    with contextlib.suppress(OSError):
        os.write(report, json.dumps(said).encode())


def _start_init(plan: Plan, report: int) -> int:
    """Fork the lab's init in a pid namespace of its own; returns its pidfd."""
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
    except PermissionError:
        kernel.enter_user_namespace()
        kernel.unshare(kernel.CLONE_NEWPID)
    guard = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            if select.select([guard], [], [], 0)[0]:
                os._exit(1)
            _run_init(plan, report)
        except Exception as error:
            _tell(report, error)
        finally:
            os._exit(1)
    os.close(report)
    return os.pidfd_open(pid)


def _run_init(plan: Plan, report: int) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
    gc.freeze()
    gc.disable()
    ready, told = os.pipe()
    with Rtnetlink() as switch:
        switch.send("bridge", bridge("switch"))
        master = socket.if_nametoindex("switch")
        mounts.prepare_base(plan)
        for node in plan.nodes:
            kernel.setns(own_pids, kernel.CLONE_NEWPID)
            _start_node(plan, node, switch, master, told)
    os.close(told)
    _await_nodes(ready)
    os.write(report, b"[]")
    os.close(report)
    while True:
        os.wait()


def _start_node(plan: Plan, node: NodePlan, switch: Rtnetlink, master: int, told: int) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(plan.control(node.name))
    listener.listen(_BACKLOG)
    kernel.unshare(_NODE)
    network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    switch.send(f"veth to {node.name}", veth(node.name, master, "eth0", node.mac, network))
    os.close(network)
    if os.fork() != 0:
        listener.close()
        return
    try:
        kernel.name_process(f"node {node.name}")
        set_up(plan, node)
        os.close(told)
        NodeInit(listener).serve()
    except Exception as error:
        _tell(told, error)
    finally:
        os._exit(1)


def _await_nodes(ready: int) -> None:
    """Return when each node has closed its end of the pipe; raise what one of them said before."""
    with open(ready, "rb") as pipe:
        text = pipe.read()
    if text:
        raise OSError(*json.JSONDecoder().raw_decode(text.decode())[0])
