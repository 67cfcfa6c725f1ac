"""One lab for all lab tests of a session; under pytest-xdist, one for each worker."""

from collections.abc import Iterator

import pytest

from trogdor.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Five nodes, n1 … n5. A test leaves no process, rule or listener in them."""
    with Lab(nodes=5) as nodes:
        yield nodes
