"""One build in a process of its own, started before its time is taken.

For what a process does only once, and what an earlier build would leave behind: glibc adapts its limits to the memory
that was used. Run as a program it builds: `python -m benchmarks.fresh_build MANIFEST ROOT KEEP`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from unittest.mock import patch

from benchmarks.photos import PhotoSet
from benchmarks.process import python
from benchmarks.writers import build_shards
from tfrec_stage.images.policy import Verify
from tfrec_stage.tfrecord import file_writer

THREADS = 2


@dataclass
class FreshBuild:
    """A build of photos with `verify: structure`."""

    photos: PhotoSet
    keeps_freed_memory: bool
    """Whether glibc is made to keep the memory of written batches."""
    _process: "Popen[str] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Start the process and wait until it has imported everything."""
        self.stop()
        paths = (str(self.photos.manifest), str(self.photos.root))
        command = python("-m", "benchmarks.fresh_build", *paths, str(self.keeps_freed_memory))
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, text=True)
        assert _read_line(self._process) == "ready"

    def run(self, out: Path) -> int:
        """Build, and return the number of images."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(f"{out}\n")
        process.stdin.flush()
        return int(_read_line(process))

    def stop(self) -> None:
        """Wait until the process has ended."""
        if self._process is not None:
            self._process.communicate()


def _read_line(process: "Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _main(manifest: str, root: str, keep: str) -> None:
    photos = PhotoSet(Path(root), [], Path(manifest))
    print("ready", flush=True)
    out = Path(sys.stdin.readline().strip())
    if keep == str(True):
        images = build_shards(photos, out, THREADS, verify=Verify.structure)
    else:
        with patch.object(file_writer, "_keep_freed_memory"):
            images = build_shards(photos, out, THREADS, verify=Verify.structure)
    print(images, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
