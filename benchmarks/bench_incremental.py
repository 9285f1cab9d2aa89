"""Building again with a store, beside a clean build of the same images."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import SIZE_BYTES, PhotoSet
from benchmarks.race import Contestant, Race, run_race
from tfrec_stage.build.build import BuildReport, BuildRequest, build
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.dataset_info import Label
from tfrec_stage.engine import EngineOptions
from tfrec_stage.images.policy import Verify
from tfrec_stage.manifest import open_manifest
from tfrec_stage.reading.records import read_records
from tfrec_stage.schema.options import Profile

SHARDS = 10
THREADS = 2
LABELS = tuple(Label(number, f"class {number}") for number in range(100))
"""As importers write them. Without names of classes, the exports of profiles read all shards to collect them."""


@dataclass
class Workspace:
    """Photos that change, their manifest, and one output directory with its store."""

    photos: PhotoSet
    directory: Path
    verify: Verify
    compression: Compression = Compression.none
    changes: count = field(default_factory=count)

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.jsonl"

    def change_one_image(self) -> None:
        """Give the first image other bytes, and pin them."""
        self.photos.change_first_image(next(self.changes))
        self.photos.write_manifest(self.manifest)

    def change_every_label(self, shard: int | None = None) -> None:
        """Give every record another class, or those of one shard."""
        shards = self.shards_of_records() if shard is not None else {}
        for record in self.photos.records:
            if shard is None or shards[record["id"]] == shard:
                record["class"]["label"] = (record["class"]["label"] + 1) % 100
        self.photos.write_manifest(self.manifest)

    def shards_of_records(self) -> dict[str, int]:
        """Return the number of the shard of each id, as the latest build has it."""
        paths = sorted((self.directory / "out").glob("train-*"))
        return {record["id"]: number for number, path in enumerate(paths) for record in read_records(path)}

    def build(self, output: Path, store: Path | None, profiles: Sequence[Profile] = ()) -> BuildReport:
        encode = EncodeOptions(verify=self.verify, compression=self.compression, profiles=list(profiles))
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=SHARDS,
            output_options=OutputOptions(encode),
            images_root=self.photos.root,
            store_directory=store,
            labels=LABELS,
            engine=EngineOptions(THREADS),
        )
        return build(open_manifest(self.manifest), request)

    def build_again(self, built: int, profiles: Sequence[Profile] = ()) -> int:
        """Build with the store, where `built` shards must be written."""
        report = self.build(self.directory / "out", self.directory / "store", profiles)
        assert len(report.built) == built
        return report.statistics.images


@pytest.mark.parametrize("compression", list(Compression), ids=lambda compression: compression.name)
@pytest.mark.parametrize("verify", list(Verify), ids=lambda verify: verify.name)
def test_building_again(
    benchmark: BenchmarkFixture,
    draw: Callable[[int, int], PhotoSet],
    workdir: Path,
    scale: Scale,
    *,
    verify: Verify,
    compression: Compression,
) -> None:
    """Builds after changes of images and of annotations, against a clean build without a store."""
    photos = draw(10_000 if scale.is_measured else 40, SIZE_BYTES)
    workspace = Workspace(photos, workdir / f"again-{verify.name}-{compression.name}", verify, compression)
    workspace.directory.mkdir()
    workspace.change_one_image()
    workspace.build(workspace.directory / "out", workspace.directory / "store")

    # The readers of profile tfds take no compressed shards.
    profiles = [Profile.tfds if compression is Compression.none else Profile.od_api]
    with_profile = f"clean build, profile {profiles[0].name}"

    def reset() -> None:
        workspace.build(workspace.directory / "out", workspace.directory / "store")

    contestants = [
        Contestant("clean build", lambda out: workspace.build(out / "out", None).statistics.images),
        Contestant("one image changed", lambda _: workspace.build_again(built=1), prepare=workspace.change_one_image),
        Contestant(
            "every label changed", lambda _: workspace.build_again(SHARDS), prepare=workspace.change_every_label
        ),
        Contestant(
            "every label of one shard changed",
            lambda _: workspace.build_again(1),
            prepare=lambda: workspace.change_every_label(shard=0),
        ),
        Contestant(with_profile, lambda out: workspace.build(out / "out", None, profiles).statistics.images),
        Contestant("profile added", lambda _: workspace.build_again(SHARDS, profiles), with_profile, prepare=reset),
        Contestant("nothing changed", lambda _: workspace.build_again(built=0), prepare=reset),
    ]
    title = f"building {len(photos):,} JPEGs in {SHARDS} shards again, {verify.name}, compression {compression.name}"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)
    shutil.rmtree(workspace.directory)
