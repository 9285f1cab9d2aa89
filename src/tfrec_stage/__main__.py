"""The door. It is light, for worker processes of the console script import it, too."""

import gc
import sys


def main() -> None:
    """Run a stage as the command line says, and leave with its exit code."""
    gc.disable()  # until the work begins: imports and a configuration are many objects, and no garbage
    try:
        from tfrec_stage.command_line import run  # noqa: PLC0415 - see above

        sys.exit(run())
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
