"""The data sets that all benchmarks share, and how much of them is worth drawing."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # processes begin as a user's do, which find our modules compiled

import pytest

from benchmarks.photos import PhotoSet, draw_photos, draw_pngs, take_photos

IMAGES = "TFREC_BENCH_IMAGES"
"""Environment: a folder of JPEGs to take instead of drawn ones."""
ROUNDS = "TFREC_BENCH_ROUNDS"
"""Environment: how often each contestant of a race runs; 5 by default."""
GROWTH = "TFREC_BENCH_GROWTH"
"""Environment: 1 measures how cost grows as well, which takes many minutes."""

MEMORY_FILES = Path("/dev/shm")
"""A file system in memory, so that it is not the disk that is measured."""


@dataclass(frozen=True)
class Scale:
    """How much work benchmarks do: as plain tests a little, once."""

    is_measured: bool
    """Whether times are taken."""
    is_growth_wanted: bool
    """Whether the long series are wanted too."""

    @property
    def photos(self) -> int:
        """Number of photos."""
        return 1000 if self.is_measured else 16

    @property
    def pngs(self) -> int:
        """Number of PNGs."""
        return 300 if self.is_measured else 4

    @property
    def rounds(self) -> int:
        """How often each contestant of a race runs."""
        return int(os.environ.get(ROUNDS, "5")) if self.is_measured else 1


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    option = request.config.getoption
    is_measured = option("benchmark_enable") or not option("benchmark_disable")
    return Scale(is_measured, os.environ.get(GROWTH) == "1")


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory where there is one, else where pytest puts its own."""
    if not os.access(MEMORY_FILES, os.W_OK):
        yield tmp_path_factory.mktemp("bench")
        return
    directory = Path(mkdtemp(prefix="tfrec-bench-", dir=MEMORY_FILES))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def photos(scale: Scale, workdir: Path) -> PhotoSet:
    """JPEGs of about 110 KB, or the user's own."""
    if folder := os.environ.get(IMAGES):
        return take_photos(Path(folder), workdir / "own.jsonl", scale.photos)
    return draw_photos(workdir / "photos", scale.photos)


@pytest.fixture(scope="session")
def pngs(scale: Scale, workdir: Path) -> PhotoSet:
    """Photo-like PNGs, which have to be encoded anew."""
    return draw_pngs(workdir / "pngs", scale.pngs)


@pytest.fixture(scope="session")
def draw(workdir: Path) -> Callable[[int, int], PhotoSet]:
    """Draws a set of `count` JPEGs of `size_bytes`, once each."""
    drawn: dict[tuple[int, int], PhotoSet] = {}

    def make(count: int, size_bytes: int) -> PhotoSet:
        if (count, size_bytes) not in drawn:
            drawn[count, size_bytes] = draw_photos(workdir / f"{count}-of-{size_bytes}", count, size_bytes)
        return drawn[count, size_bytes]

    return make
