"""What is below is run by ducktape, in its own environment: `make test-ducktape`."""

collect_ignore = ["trogdor_systests"]
