"""A Java process's main class or jar, without a JDK: from its command line, else from the JVM's own counters.

``hsperfdata`` is the file in which every HotSpot JVM publishes counters, ``sun.rt.javaCommand`` among them; ``jcmd``
reads the same. Standard library only.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_TAKES_A_VALUE = frozenset(
    ("-cp", "-classpath", "--class-path", "-p", "--module-path", "--upgrade-module-path", "--add-modules",
     "--add-opens", "--add-exports", "--add-reads", "--patch-module", "--limit-modules", "--enable-native-access",
     "--source", "-d", "--describe-module")
)  # fmt: skip
_MAGIC = b"\xca\xfe\xc0\xc0"
_MOST = 1 << 20


def names_of(pid: int, arguments: Sequence[str]) -> set[str]:
    """What a user may call a Java process: main class or jar in full, or its last word. Empty for other processes."""
    main = _main_of(arguments) if arguments and os.path.basename(arguments[0]) == "java" else ""
    main = main or _published(pid).split(" ")[0]
    if not main:
        return set()
    if main.endswith(".jar"):
        file = os.path.basename(main)
        return {main, file, file.removesuffix(".jar")}
    main = main.rpartition("/")[2]
    return {main, main.rpartition(".")[2]}


def _main_of(arguments: Sequence[str]) -> str:
    """The main class or jar on a java command line; empty where it is in none of its words."""
    words = iter(arguments[1:])
    for word in words:
        if word in ("-jar", "-m", "--module"):
            return next(words, "")
        if word.startswith("--module="):
            return word.removeprefix("--module=")
        if word in _TAKES_A_VALUE:
            next(words, "")
        elif word.startswith("@"):
            return ""
        elif not word.startswith("-"):
            return word
    return ""


def _published(pid: int) -> str:
    """The command that the JVM itself publishes, arguments included; empty where there is none."""
    root = Path(f"/proc/{pid}/root/tmp")
    try:
        inner = next(
            line.split()[-1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:6] == "NSpid:"
        )
        for file in root.glob(f"hsperfdata_*/{inner}"):
            with file.open("rb") as opened:
                counters = dict(_strings(opened.read(_MOST)))
            return counters.get("sun.rt.javaCommand", "")
    except (OSError, StopIteration, struct.error, ValueError):
        pass
    return ""


def _strings(data: bytes) -> Iterator[tuple[str, str]]:
    """The counters that are strings. Layout: HotSpot's perfMemory.hpp, PerfDataPrologue and PerfDataEntry."""
    if data[:4] != _MAGIC:
        return
    order = ">" if data[4] == 0 else "<"
    offset, count = struct.unpack_from(f"{order}ii", data, 24)
    for _ in range(count):
        length, name_at, vector, kind, _flags, _units, _variability, value_at = struct.unpack_from(
            f"{order}iiibbbbi", data, offset
        )
        if length <= 0:
            return
        if chr(kind) == "B" and vector > 0:
            name = data[offset + name_at : data.index(b"\0", offset + name_at)]
            value = data[offset + value_at : offset + value_at + vector]
            yield name.decode(errors="replace"), value.rstrip(b"\0").decode(errors="replace")
        offset += length
