"""Entry point of `python -m tfrec_stage` and of the console script.

It imports next to nothing, since worker processes of the console script import it as well.
"""

import gc
import sys
from collections.abc import Callable


def main() -> None:
    """Run the stage that the command line names, and exit with its exit code."""
    gc.disable()  # until the stage starts: imports and the configuration create many objects and no garbage
    try:
        sys.exit(_load()())
    finally:
        gc.enable()


def _load() -> Callable[[], int]:
    try:
        from tfrec_stage.cli.main import run  # noqa: PLC0415 - imports Hydra
    except KeyboardInterrupt:  # later ones are handled in cli.main
        sys.stderr.write("error: interrupted; nothing was started\n")
        sys.exit(130)
    return run


if __name__ == "__main__":
    main()
