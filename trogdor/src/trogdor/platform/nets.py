"""The table of docs/faults.md: what undoes each fault, from what the kinds of resources declare.

``python -m trogdor.platform.nets FILE`` writes it into the file anew, between its markers.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from trogdor.claim.model import Net
from trogdor.platform.base import Platform
from trogdor.platform.preview import resource_of
from trogdor.spec.base import Spec

BEGIN, END = "<!-- nets: made by `python -m trogdor.platform.nets docs/faults.md` -->", "<!-- /nets -->"


def table(platform: Platform) -> str:
    """Two tables in Markdown: faults with the kinds they claim, and kinds with the nets under them."""
    return "\n".join([*_faults(platform), "", *_kinds(platform)])


def _faults(platform: Platform) -> Iterator[str]:
    yield "| fault | claims | checked by |"
    yield "|---|---|---|"
    for spec in sorted(platform.faults, key=_last_word):
        fault = platform.faults[spec]
        yield f"| {_last_word(spec)} | {', '.join(fault.kinds)} | {fault.checked_by} |"


def _last_word(spec: type[Spec]) -> str:
    return spec.class_name.rpartition(".")[2]


def _kinds(platform: Platform) -> Iterator[str]:
    yield f"| kind | {' | '.join(Net)} | how |"
    yield f"|---|{'---|' * len(Net)}---|"
    for kind in sorted(platform.kinds):
        resource = resource_of(platform, kind)
        nets = " | ".join("yes" if net in resource.nets else "" for net in Net)
        yield f"| {kind} | {nets} | {resource.undone_by} |"


def written(document: str, platform: Platform) -> str:
    """The document with its tables made anew. Raises ValueError when it has no markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{table(platform)}\n\n{END}{after}"


if __name__ == "__main__":
    from trogdor.platform.linux import PLATFORM

    file = Path(sys.argv[1])
    file.write_text(written(file.read_text(), PLATFORM))
