"""Exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code of a stage. An unknown flag ends with 2, which is argparse's."""

    DONE = 0
    """The stage did its work; failures are within `max_failures`."""
    ERROR = 1
    """An option or the input is wrong, or a file cannot be read or written; nothing is replaced."""
    FAILURES = 3
    """More images failed, or more problems were found by an import, than `max_failures` allows."""
    FINDINGS = 4
    """`stage=verify` found something wrong."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells report it."""
    TERMINATED = 143
    """SIGTERM: 128 + SIGTERM."""
