"""Accounts of nodes: ducktape's, with tags, and without the 40 ms that Nagle's algorithm costs each command."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ducktape.cluster.json import make_remote_account
from ducktape.cluster.linux_remoteaccount import LinuxRemoteAccount
from ducktape.cluster.remoteaccount import RemoteAccountSSHConfig


class QuickAccount(LinuxRemoteAccount):  # type: ignore[misc]
    """A Linux node whose ssh connection sends at once (TCP_NODELAY)."""

    @property
    def ssh_client(self) -> Any:
        """The connection, made or renewed as ducktape does."""
        client = super().ssh_client
        connection = client.get_transport().sock
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


def make_account(node: Mapping[str, Any], ssh_exception_checks: list[Any] | None = None) -> Any:
    """The account of one node of a cluster file: as JsonCluster's, and ``"tags": ["ssd", "rack-a"]``.

    Raises ValueError that says what is wrong with the node.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("ssh_config"), Mapping):
        raise ValueError(f"a node needs an ssh_config: {node!r}")
    tags = node.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError(f"tags are a list of words, not {tags!r}")
    config = RemoteAccountSSHConfig(**node["ssh_config"])
    windows = "windows" in (config.host or "")
    account = (make_remote_account if windows else QuickAccount)(
        config,
        node.get("externally_routable_ip"),
        node_type=node.get("node_type"),
        ssh_exception_checks=ssh_exception_checks,
    )
    if node.get("os", account.operating_system) != account.operating_system:
        raise ValueError(f"ducktape takes {config.host} for {account.operating_system}, the file says {node['os']}")
    account.tags = frozenset(tags)
    return account
