"""Verify beside a bare read, parse and decode of the same shards by tf.data, without TensorFlow's import."""

import os
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import build_shards
from tfrec_stage.images.encode import Verify
from tfrec_stage.manifest import open_manifest
from tfrec_stage.reading.fields import feature_spec
from tfrec_stage.stats.count import count_shards
from tfrec_stage.verify.parsing import import_tensorflow
from tfrec_stage.verify.verify import VerifyRequest, verify_shards

THREADS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def shards(photos: PhotoSet, workdir: Path) -> Path:
    """Shards of all photos."""
    directory = workdir / "verified"
    directory.mkdir()
    build_shards(photos, directory, THREADS, verify=Verify.structure)
    return next(path.parent for path in directory.rglob("index.json"))


def read_bare(shards: Path) -> int:
    """What a training loop does at least: every record read, parsed and decoded, in parallel."""
    tf = import_tensorflow()
    spec = feature_spec()

    def decode(record):
        example = tf.io.parse_single_example(record, spec)
        return tf.shape(tf.io.decode_jpeg(example["image/encoded"], channels=3))

    files = sorted(str(path) for path in shards.glob("*-of-*"))
    records = tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE)
    batches = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(64).prefetch(tf.data.AUTOTUNE)
    return sum(len(sizes) for sizes in batches)


def verify(shards: Path, photos: PhotoSet | None) -> int:
    """Every check there is; without the manifest those of the shards alone."""
    manifest = open_manifest(photos.manifest) if photos else None
    report = verify_shards(VerifyRequest("bench", str(shards), manifest, num_threads=THREADS))
    assert report.is_sound, report.findings.kept
    return report.counts["records"]


def test_verify(benchmark: BenchmarkFixture, photos: PhotoSet, shards: Path, workdir: Path, scale: Scale) -> None:
    """All checks, those without a manifest, and statistics alone."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow, which reads the shards back")
    contestants = [
        Contestant("bare read, parse and decode by tf.data", lambda _: read_bare(shards)),
        Contestant("**`stage=verify`**", lambda _: verify(shards, photos)),
        Contestant("`stage=verify` without a manifest", lambda _: verify(shards, None)),
        Contestant("`stage=stats`", lambda _: count_shards(str(shards))["images"]),
    ]
    run_race(benchmark, Race(f"{len(photos):,} JPEGs verified, import not counted", contestants, workdir), scale.rounds)
