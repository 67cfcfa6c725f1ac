"""``python -m trogdor`` is the ``trogdor`` command."""

from trogdor.cli.main import main

main()
