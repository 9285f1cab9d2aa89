"""Time and peak memory of a whole process.

Run as a program it is the launcher: `python -m benchmarks.process COMMAND …` runs the command and prints, as its last
line, what it took. A process that is forked inherits the peak of its parent, so the parent must be a small one.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

POLL_S = 0.001
"""Seconds between two looks for the first byte."""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    """From its start to its end."""
    peak_mb: float
    """Most memory that was resident at once, in 10^6 bytes."""


def run_process(command: list[str], directory: Path) -> Cost:
    """Run a command in a directory, to a good end, and measure it from within a launcher."""
    launch = [sys.executable, "-S", __file__, *command]
    done = subprocess.run(launch, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def run_to_end(command: list[str], directory: Path) -> None:
    """Run a command in a directory, to a good end, with nothing beside it that would take time."""
    subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, check=True)


def run_to_first_byte(command: list[str], directory: Path) -> None:
    """Run a command until a file that was not there has a byte, below that directory; then kill it."""
    known = set(directory.rglob("*"))
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(FileNotFoundError):  # what is temporary may go while it is looked at
                if any(path.is_file() and path.stat().st_size for path in set(directory.rglob("*")) - known):
                    return
            sleep(POLL_S)
    finally:
        process.kill()
        process.wait()
    raise AssertionError(f"{command} gave {process.returncode} before a byte was seen")


def python(*arguments: str) -> list[str]:
    """A command of the running interpreter."""
    return [sys.executable, *arguments]


def _measure(command: list[str]) -> tuple[Cost, int]:
    begin_s = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in units of 1,024
    return Cost(perf_counter() - begin_s, usage.ru_maxrss * kilobyte / 1e6), process.returncode


def _main() -> None:
    cost, code = _measure(sys.argv[1:])
    sys.stdout.write(json.dumps(vars(cost)) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    _main()
