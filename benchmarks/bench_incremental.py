"""Building again with a store, beside a clean build of the same images."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import SIZE_BYTES, PhotoSet, add_comment
from benchmarks.race import Contestant, Race, run_race
from tfrec_stage.build.build import BuildReport, BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.engine import EngineOptions
from tfrec_stage.images.policy import Verify
from tfrec_stage.manifest import open_manifest

SHARDS = 10
THREADS = 2


@dataclass
class Workspace:
    """Photos that change, their manifest, and one output directory with its store."""

    photos: PhotoSet
    directory: Path
    verify: Verify
    changes: count = field(default_factory=count)

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.jsonl"

    def change_one_image(self) -> None:
        """Give the first image other bytes, and pin them."""
        record = self.photos.records[0]
        path = self.photos.root / record["filename"]
        content = add_comment(path.read_bytes(), next(self.changes))
        path.write_bytes(content)
        record["sha256"] = sha256(content).hexdigest()
        self.manifest.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in self.photos.records))

    def build(self, output: Path, store: Path | None) -> BuildReport:
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=SHARDS,
            output_options=OutputOptions(EncodeOptions(verify=self.verify)),
            images_root=self.photos.root,
            store_directory=store,
            engine=EngineOptions(THREADS),
        )
        return build(open_manifest(self.manifest), request)

    def build_again(self, built: int) -> int:
        """Build with the store, where `built` shards must be written."""
        report = self.build(self.directory / "out", self.directory / "store")
        assert len(report.built) == built
        return report.statistics.images


@pytest.mark.parametrize("verify", list(Verify), ids=lambda verify: verify.name)
def test_building_again(
    benchmark: BenchmarkFixture, draw: Callable[[int, int], PhotoSet], workdir: Path, scale: Scale, verify: Verify
) -> None:
    """Nothing changed, and one image changed, against a clean build without a store."""
    photos = draw(10_000 if scale.is_measured else 40, SIZE_BYTES)
    workspace = Workspace(photos, workdir / f"again-{verify.name}", verify)
    workspace.directory.mkdir()
    workspace.change_one_image()
    workspace.build(workspace.directory / "out", workspace.directory / "store")
    contestants = [
        Contestant("clean build", lambda out: workspace.build(out / "out", None).statistics.images),
        Contestant("one image changed", lambda _: workspace.build_again(built=1), prepare=workspace.change_one_image),
        Contestant("nothing changed", lambda _: workspace.build_again(built=0)),
    ]
    title = f"building {len(photos):,} JPEGs in {SHARDS} shards again, `verify: {verify.name}`"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)
