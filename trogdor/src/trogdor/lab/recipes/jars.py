"""The jars that the recipes of Java servers run: from Maven Central once, then from the user's cache directory."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from trogdor.lab.runtime import LabError

Profile = Literal["kafka-4.1.0", "kafka-3.9.1", "kafka-tools-4.1.0", "trogdor-4.1.0"]
"""The profiles of pom.xml."""

POM = Path(__file__).with_name("pom.xml")
DOWNLOAD_TIMEOUT_S = 480.0

QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
"""For servers that live a few minutes on few cores: compiled once and cheaply, collected by one thread."""

LOGGING = ("-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")


def cache_directory() -> Path:
    """Where jars are kept: `trogdor/jars` in `$XDG_CACHE_HOME`, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trogdor" / "jars"


def class_path(profile: Profile) -> str:
    """A class path with the jars of a profile; fetched with Maven the first time.

    Raises LabError that says what is missing when there is no Maven, or it fails.
    """
    directory = cache_directory() / profile
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with open(directory.parent / f".{profile}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                _fetch(profile, directory)
    return f"{directory}/*"


def _fetch(profile: Profile, directory: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise LabError(
            f"no jars of {profile} yet, and no Maven to fetch them with. On Debian and Ubuntu: apt-get install maven;"
            " else set KAFKA_HOME to an unpacked Kafka"
        )
    with tempfile.TemporaryDirectory(dir=directory.parent) as made:
        jars = Path(made) / "jars"
        command = [maven, "-q", "-B", "-f", str(POM), "-P", profile]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        try:
            ran = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, cwd=made
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"Maven has not fetched {profile} within {DOWNLOAD_TIMEOUT_S:.0f} s") from None
        if ran.returncode or not jars.exists():
            raise LabError(f"Maven could not fetch {profile}:\n{(ran.stdout + ran.stderr)[-2000:]}")
        jars.rename(directory)


def kafka_class_path(profile: Profile) -> str:
    """The jars of `KAFKA_HOME` where that is set, else of the profile. Raises LabError."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        return class_path(profile)
    libraries = Path(home) / "libs"
    if not libraries.is_dir():
        raise LabError(f"KAFKA_HOME={home}: there is no directory libs in it; name an unpacked Kafka")
    return f"{libraries}/*"


def java() -> str:
    """`JAVA_HOME`'s java, or that of PATH. Raises LabError that says how to get one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if found is None:
        raise LabError("no Java: on Debian and Ubuntu: apt-get install default-jre-headless; else set JAVA_HOME")
    return os.path.realpath(found)


def java_command(class_path: str, main: str, *arguments: str, heap_mb: int, options: tuple[str, ...] = ()) -> list[str]:
    """The command that runs a main class as a short-lived server."""
    heap = (f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m")
    return [java(), *heap, *QUICK_START, *LOGGING, *options, "-cp", class_path, main, *arguments]
