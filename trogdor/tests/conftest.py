"""What every test stands on: signals as a terminal's programs have them, whoever started the run.

A shell that runs us in the background, or ``nohup``, leaves SIGINT or SIGHUP ignored, and our daemons inherit that.
"""

import signal
from typing import Any

signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was wrong the first time with each test that was run once more."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first run of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
