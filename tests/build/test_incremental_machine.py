"""An incremental build equals a clean one, byte for byte, after edits and accidents in any order."""

import os
import shutil
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import rotated_image, undecodable_image
from tests.project import Content, Project, read_all
from tfrec_stage.annotations.policy import OutOfRange
from tfrec_stage.build.options import Compression
from tfrec_stage.cache.disk_cache import DiskCache
from tfrec_stage.images.encode import encode_image
from tfrec_stage.images.policy import Verify
from tfrec_stage.schema.options import AreaUnit, Profile

FEWEST, MOST = 3, 20
ROTATED, UNDECODABLE = rotated_image(), undecodable_image()
LONG_AGO_S = 1_600_000_000

which = st.integers(0, MOST)
images = st.integers(0, 50)


class _AccidentError(Exception):
    """Ends a build in the middle."""


class IncrementalBuilds(RuleBasedStateMachine):
    """Edits and accidents, with a build in between."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(mkdtemp())
        self.unique = count(1)
        self.content: Content | None = None

    @initialize(
        is_pinned=st.booleans(), number=st.integers(FEWEST, 12), num_shards=st.integers(1, 5), shuffle=st.booleans()
    )
    def begin(self, is_pinned: bool, number: int, num_shards: int, shuffle: bool) -> None:
        """Create some images that are not built yet."""
        self.project = Project.of(
            self.root, number, is_pinned=is_pinned, num_shards=num_shards, encode={"shuffle": shuffle, "seed": 0}
        )

    def teardown(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root)

    def pick(self, number: int) -> str:
        """Choose any of the records."""
        return list(self.project.records)[number % len(self.project.records)]

    @precondition(lambda self: len(self.project.records) < MOST)
    @rule(image_format=st.sampled_from(["JPEG", "PNG"]))
    def add(self, image_format: str) -> None:
        self.project.add(f"new {next(self.unique)}", image_format)

    @precondition(lambda self: len(self.project.records) > FEWEST)
    @rule(which=which)
    def remove(self, which: int) -> None:
        self.project.remove(self.pick(which))

    @rule(which=which, label=st.integers(0, 3))
    def relabel(self, which: int, label: int) -> None:
        self.project.records[self.pick(which)]["class"]["label"] = label

    @rule(label=st.integers(0, 3))
    def relabel_all(self, label: int) -> None:
        for record in self.project.records.values():
            record["class"]["label"] = label

    @rule(which=which, boxes=st.integers(0, 3), is_out=st.booleans())
    def annotate(self, which: int, boxes: int, is_out: bool) -> None:
        """Give a record boxes, perhaps one that sticks out of the image."""
        low, high = [0.25] * boxes, [1.5 if is_out else 0.75] * boxes
        self.project.records[self.pick(which)]["object"] = {
            "bbox": {"xmin": low, "xmax": high, "ymin": low, "ymax": [0.75] * boxes, "label": [1] * boxes}
        }

    @rule(which=which, extra=st.integers(0, 3))
    def describe(self, which: int, extra: int) -> None:
        self.project.records[self.pick(which)]["extra"] = {"number": extra}

    @rule(which=which, size=st.sampled_from([(40, 30), (30, 40), None]))
    def state_size(self, which: int, size: tuple[int, int] | None) -> None:
        """State the frame that annotations were made on; images have 40 by 30 pixels, some are rotated by EXIF."""
        record = self.project.records[self.pick(which)]
        record.pop("width", None), record.pop("height", None)
        if size is not None:
            record |= {"width": size[0], "height": size[1]}

    @rule(which=which, other=which)
    def copy_image(self, which: int, other: int) -> None:
        """Give a record the image of another."""
        source, name = self.project.image(self.pick(other)), self.pick(which)
        if source.exists() and source != self.project.image(name):
            self.project.image(name).unlink(missing_ok=True)
            shutil.copy(source, self.project.image(name))
            self.project.pin(name)

    @rule(which=which, image=images)
    def redraw(self, which: int, image: int) -> None:
        self.project.draw(self.pick(which), image)

    @rule(which=which)
    def rename_file(self, which: int) -> None:
        name = self.pick(which)
        old = self.project.image(name)
        self.project.records[name]["filename"] = f"renamed {next(self.unique)}"
        if old.exists():
            old.rename(self.project.image(name))

    @rule(which=which)
    def rename_record(self, which: int) -> None:
        record = self.project.records.pop(self.pick(which))
        name = f"renamed {next(self.unique)}"
        self.project.records[name] = record | {"id": name}

    @rule(which=which)
    def reorder(self, which: int) -> None:
        name = self.pick(which)
        self.project.records[name] = self.project.records.pop(name)

    @rule(which=which, content=st.sampled_from([b"", b"<html>404</html>", b"\xff\xd8\xff\xd9", ROTATED, UNDECODABLE]))
    def break_image(self, which: int, content: bytes) -> None:
        name = self.pick(which)
        self.project.image(name).unlink(missing_ok=True)
        self.project.image(name).write_bytes(content)
        self.project.pin(name)

    @precondition(lambda self: not self.project.is_pinned)
    @rule(which=which)
    def lose_image(self, which: int) -> None:
        self.project.image(self.pick(which)).unlink(missing_ok=True)

    @rule()
    def age(self) -> None:
        """Make all files old enough for their hashes to be cached."""
        time_s = LONG_AGO_S + next(self.unique)
        for image in (self.root / "images").iterdir():
            os.utime(image, (time_s, time_s))

    @rule(num_shards=st.integers(1, 6))
    def reshard(self, num_shards: int) -> None:
        self.project.num_shards = num_shards

    @rule(seed=st.integers(0, 3), shuffle=st.booleans())
    def reshuffle(self, seed: int, shuffle: bool) -> None:
        self.project.encode |= {"seed": seed, "shuffle": shuffle}

    @rule(quality=st.sampled_from([50, 95]))
    def recompress(self, quality: int) -> None:
        self.project.encode |= {"jpeg_quality": quality}

    @rule(compression=st.sampled_from(Compression))
    def deflate(self, compression: Compression) -> None:
        self.project.encode |= {"compression": compression}

    @rule(verify=st.sampled_from(Verify))
    def verify(self, verify: Verify) -> None:
        self.project.encode |= {"verify": verify}

    @rule(profiles=st.sampled_from([[], [Profile.od_api], [Profile.csv]]), area=st.sampled_from(AreaUnit))
    def choose_keys(self, profiles: list[Profile], area: AreaUnit) -> None:
        self.project.encode |= {"profiles": profiles, "area": area}

    @rule(store_images=st.booleans())
    def keep_images(self, store_images: bool) -> None:
        self.project.encode |= {"store_images": store_images}

    @rule(out_of_range=st.sampled_from(OutOfRange))
    def clip(self, out_of_range: OutOfRange) -> None:
        self.project.annotations = {"out_of_range": out_of_range}

    @rule()
    def delete_store(self) -> None:
        shutil.rmtree(self.project.store, ignore_errors=True)

    @rule(which=which, place=st.integers(0, 10_000), keep=st.booleans())
    def damage_store(self, which: int, place: int, keep: bool) -> None:
        """Change one byte of any file of the cache, or cut the file there."""
        files = sorted(path for path in self.project.store.rglob("*") if path.is_file() and path.stat().st_size)
        if files:
            path = files[which % len(files)]
            content = bytearray(path.read_bytes())
            place %= len(content)
            path.unlink()  # it may be an output too
            path.write_bytes(content[:place] + (bytes([content[place] ^ 1]) + content[place + 1 :] if keep else b""))

    @rule(which=which)
    def lose_from_store(self, which: int) -> None:
        files = sorted(path for path in self.project.store.rglob("*") if path.is_file())
        if files:
            files[which % len(files)].unlink()

    @rule()
    def delete_output(self) -> None:
        """Remove the output, as DVC does before it runs a stage."""
        shutil.rmtree(self.project.out, ignore_errors=True)
        self.content = None

    @rule(kind=st.sampled_from(["encode", "keep", "listen"]), after=st.integers(0, 8))
    def interrupt(self, kind: str, after: int) -> None:
        """Run a build that ends in the middle, unless there is less to do."""
        left = count(after, -1)

        def strike(original=lambda _: None):
            def strike_or_go_on(*arguments, **options):
                if next(left) <= 0:
                    raise _AccidentError
                return original(*arguments, **options)

            return strike_or_go_on

        try:
            if kind == "encode":
                with patch("tfrec_stage.build.record_encoder.encode_image", strike(encode_image)):
                    self.project.build()
            elif kind == "keep":
                with patch.object(DiskCache, "add", strike(DiskCache.add)):
                    self.project.build()
            else:
                self.project.build(strike())
        except _AccidentError:
            return
        self.content = self.project.build_clean()

    def build(self) -> None:
        """The law: an incremental build equals a clean one."""
        report = self.project.build()
        self.content = self.project.build_clean()
        assert read_all(self.project.out) == self.content
        kept = {path.name for path in (self.project.store / "v1" / "shards").iterdir()}
        assert kept == {f"{shard.fingerprint}{suffix}" for shard in report.shards for suffix in ("", ".jsonl")}
        lists = {path.suffix for path in (self.project.store / "v1" / "builds").iterdir()}
        assert {".json"} <= lists <= {".json", ".images"}

    # Hypothesis takes rules with equal chances: every third or fourth shall be a build.
    build_now, build_then, build_again, build_later, build_at_last, build_finally = (
        rule()(lambda self: self.build()) for _ in range(6)
    )

    @invariant()
    def the_output_is_the_last_that_was_finished(self) -> None:
        """Whatever else went wrong, the output is the last finished build, and no temporary file is left."""
        found = read_all(self.project.out) if self.project.out.exists() else None
        assert found == self.content
        assert {path.name for path in self.root.iterdir()} <= {"images", "manifest.jsonl", "out", "store"}


TestIncrementalBuilds = IncrementalBuilds.TestCase
TestIncrementalBuilds.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
