"""The ``trogdor`` command."""

import sys

from trogdor import __version__


def main() -> None:
    """Runs the command line and exits."""
    print(f"trogdor {__version__}", file=sys.stderr)
    sys.exit(2)
