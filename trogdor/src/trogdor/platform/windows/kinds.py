"""Windows' kinds of resources: kind of claim → ``module:Class``. Nothing is imported before it is needed."""

KINDS = {
    "firewall": "trogdor.platform.windows.firewall:Firewall",
    "suspend": "trogdor.platform.windows.suspend:Suspend",
}
