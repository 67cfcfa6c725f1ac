"""What this process may do, as the kernel counts it (capabilities(7))."""

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_KILL": 5, "CAP_SYS_NICE": 23, "CAP_SYS_PTRACE": 19}
"""Those that an agent needs on the machine itself, by their bits."""


def lacking() -> list[str]:
    """Those of them that this process does not have."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
