"""Reading shards back, beside the bare loop of TensorFlow that everybody writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import NUM_SHARDS, build_shards
from tfrec_stage import feature_spec, load_dataset, read_records
from tfrec_stage.images.encode import Verify

SIZE = (224, 224)
BATCH = 32


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def shards(photos: PhotoSet, workdir: Path) -> Path:
    """The photos, built once."""
    out = workdir / "to-read"
    build_shards(photos, out, 2, verify=Verify.structure)
    return out / "shards"


def test_reading_jpegs(benchmark: BenchmarkFixture, tf: Any, shards: Path, workdir: Path, scale: Scale) -> None:
    """All 27 keys of every record, the image as it is stored."""
    spec = feature_spec()
    contestants = [
        _contestant("bare loop: parse", lambda: _bare(tf, shards, lambda raw: tf.io.parse_single_example(raw, spec))),
        _contestant("**`load_dataset`, `decode=False`**", lambda: load_dataset(shards, decode=False)),
        _contestant("the same in batches of 32", lambda: load_dataset(shards, decode=False, batch=BATCH)),
        _contestant("the same padded", lambda: load_dataset(shards, decode=False, batch=BATCH, ragged=False)),
        _contestant("**`read_records`**", lambda: read_records(shards)),
    ]
    run_race(benchmark, Race(_title(shards, "JPEGs left as they are"), contestants, workdir), scale.rounds)


def test_reading_pixels(benchmark: BenchmarkFixture, tf: Any, shards: Path, workdir: Path, scale: Scale) -> None:
    """The same, every image decoded; then all images of one size, in batches."""
    spec = feature_spec()

    def decode(raw: Any) -> dict[str, Any]:
        element = tf.io.parse_single_example(raw, spec)
        element["image"] = tf.io.decode_jpeg(element.pop("image/encoded"), channels=3)
        return element

    def resize(raw: Any) -> dict[str, Any]:
        element = decode(raw)
        element["image"] = tf.cast(tf.image.resize(element["image"], SIZE), tf.uint8)
        return element

    bare = "bare loop: parse, decode, resize, batch"
    contestants = [
        _contestant("bare loop: parse, decode", lambda: _bare(tf, shards, decode)),
        _contestant("**`load_dataset`**", lambda: load_dataset(shards)),
        _contestant(bare, lambda: _bare(tf, shards, resize).ragged_batch(BATCH).prefetch(tf.data.AUTOTUNE)),
        _contestant(
            "**`load_dataset`, `image_size`, `batch`**",
            lambda: load_dataset(shards, image_size=SIZE, batch=BATCH),
            bare,
        ),
        _contestant(
            "the same with `shuffle`",
            lambda: load_dataset(shards, image_size=SIZE, batch=BATCH, shuffle=True),
            bare,
        ),
    ]
    run_race(benchmark, Race(_title(shards, "decoded"), contestants, workdir), scale.rounds)


def _bare(tf: Any, shards: Path, parse: Callable[[Any], Any]) -> Any:
    """Shards one after the other, parsed in parallel: the loop of TensorFlow's guides."""
    paths = [str(path) for path in sorted(shards.glob("*-of-*"))]
    return tf.data.TFRecordDataset(paths).map(parse, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _contestant(name: str, open_dataset: Callable[[], Any], beside: str = "") -> Contestant:
    """Opens a dataset and goes through one epoch."""

    def run(_out: Path) -> int:
        return sum(_size(element) for element in open_dataset())

    return Contestant(name, run, beside)


def _size(element: dict[str, Any]) -> int:
    """Records in an element: one, or those of a batch."""
    height = element.get("image/height")
    return len(height) if getattr(height, "ndim", 0) else 1


def _title(shards: Path, how: str) -> str:
    megabytes = sum(path.stat().st_size for path in shards.glob("*-of-*")) / 1e6
    return f"{megabytes:,.0f} MB in {NUM_SHARDS} shards, {how}"
