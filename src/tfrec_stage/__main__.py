"""The door. It is light, for worker processes of the console script import it, too."""

import gc
import sys
from collections.abc import Callable


def main() -> None:
    """Run a stage as the command line says, and leave with its exit code."""
    gc.disable()  # until the work begins: imports and a configuration are many objects, and no garbage
    try:
        sys.exit(_load()())
    finally:
        gc.enable()


def _load() -> Callable[[], int]:
    try:
        from tfrec_stage.cli.main import run  # noqa: PLC0415 - see above
    except KeyboardInterrupt:  # what comes later is told there
        sys.stderr.write("error: interrupted; nothing was begun\n")
        sys.exit(130)
    return run


if __name__ == "__main__":
    main()
