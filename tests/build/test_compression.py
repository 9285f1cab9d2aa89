"""Builds with `compression: gzip`: each shard is one gzip file with the records of the uncompressed shard."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.test_build import build, digests
from tests.conftest import MakeDataset, encode_noise
from tests.project import Project, read_all
from tests.workspace import copy_conf, stage
from tfrec_stage.build import fingerprint
from tfrec_stage.build.build import BuildRequest
from tfrec_stage.build.build import build as run_build
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.manifest import open_manifest
from tfrec_stage.schema.options import Profile
from tfrec_stage.shards.directory import find_shards
from tfrec_stage.shards.reader import compression_of, read_features
from tfrec_stage.tfrecord import gzip as gzip_shards

GZIP = {"compression": Compression.gzip}
COUNT = 40


def raw_records(tf, directory: Path, compression: str) -> list[bytes]:
    """Read all records with TensorFlow."""
    paths = [str(path) for path in find_shards(directory)]
    return list(tf.data.TFRecordDataset(paths, compression_type=compression).as_numpy_iterator())


def with_large_images(dataset: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records with every third image larger than the deflate window."""
    for number, record in enumerate(dataset):
        if number % 3 == 0 and record["filename"].endswith("jpeg"):
            Path(record["filename"]).write_bytes(encode_noise(number, 400, 300))
    return dataset


def inflated(content: dict[str, bytes]) -> dict[str, bytes]:
    """Inflate the shards of an output with Python."""
    return {name: gzip.decompress(data) for name, data in content.items() if "-of-" in name}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Forty images in four compressed shards, built once, every fifth of them large."""
    made = Project.of(tmp_path / "project", COUNT, encode=dict(GZIP))
    for name in list(made.records)[::5]:
        draw_large(made, name, int(name))
    made.build()
    return made


def draw_large(project: Project, name: str, number: int) -> None:
    """Give a record an image that is stored in a block of its own."""
    project.image(name).write_bytes(encode_noise(number, 400, 300))
    project.pin(name)


@pytest.fixture
def deflated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes that are stored and deflated."""
    counted: Counter[str] = Counter()

    def counting(kind: str, make: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def count(data: bytes) -> bytes:
            counted[kind] += len(data)
            return make(data)

        return count

    for kind in ("deflate_block", "store_block"):
        monkeypatch.setattr(gzip_shards, kind, counting(kind, getattr(gzip_shards, kind)))
    return counted


class TestRecords:
    """The records are those of uncompressed shards."""

    @pytest.mark.parametrize("store_images", [True, False])
    def test_tensorflow_reads_the_same(self, tf, tmp_path: Path, make_dataset: MakeDataset, store_images: bool) -> None:
        """TensorFlow reads the same records from compressed and uncompressed shards."""
        dataset = with_large_images(make_dataset(30))
        for name in ("none", "gzip"):
            assert build(dataset, tmp_path / name, compression=name, store_images=store_images) == []
        plain = raw_records(tf, tmp_path / "none", "")
        assert len(plain) == 30
        assert raw_records(tf, tmp_path / "gzip", "GZIP") == plain

    def test_gzip_accepts_them(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Python's gzip gives the bytes of the uncompressed shards, and `gzip --test` accepts the files."""
        dataset = with_large_images(make_dataset(30))
        for name in ("none", "gzip"):
            build(dataset, tmp_path / name, compression=name)
        content = read_all(tmp_path / "gzip")
        plain = {name: data for name, data in read_all(tmp_path / "none").items() if "-of-" in name}
        assert inflated(content) == plain
        for name in plain:
            subprocess.run(["gzip", "-t"], input=content[name], check=True)

    def test_our_reader_reads_both(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """`read_features` gives the same records at the same offsets, without being told about compression."""
        dataset = with_large_images(make_dataset(30))
        for name in ("none", "gzip"):
            build(dataset, tmp_path / name, compression=name)
        shards = list(zip(find_shards(tmp_path / "none"), find_shards(tmp_path / "gzip"), strict=True))
        assert sum(len(list(read_features(plain))) for plain, _ in shards) == len(dataset)
        for plain, compressed in shards:
            assert (compression_of(plain), compression_of(compressed)) == ("", "GZIP")
            assert list(read_features(compressed)) == list(read_features(plain))

    def test_pytorchs_tfrecord_reads_them(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """The package `tfrecord`, run without TensorFlow, reads every record, small and large."""
        if find_spec("tfrecord") is None:
            pytest.skip("needs tfrecord")
        build(with_large_images(make_dataset(30)), tmp_path / "out", num_shards=1, **GZIP)
        (path,) = find_shards(tmp_path / "out")
        program = (
            "import sys\n"
            "from tfrecord.reader import tfrecord_loader\n"
            'read = tfrecord_loader(sys.argv[1], None, {"image/width": "int"}, compression_type="gzip")\n'
            'print(sorted(int(record["image/width"][0]) for record in read))\n'
        )
        command = [sys.executable, "-c", program, str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert printed.strip() == str([40] * 22 + [400] * 8)

    def test_annotations_shrink(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Shards without images have less than a fifth of their uncompressed size."""
        dataset = make_dataset(100)
        for name in ("none", "gzip"):
            build(dataset, tmp_path / name, compression=name, store_images=False, num_shards=1)
        plain, compressed = (find_shards(tmp_path / name)[0].stat().st_size for name in ("none", "gzip"))
        assert compressed < plain / 5

    def test_a_shard_without_records(self, tf, tmp_path: Path) -> None:
        """A shard whose images all failed is an empty gzip file, which TensorFlow reads as no record."""
        assert len(build([{"filename": "absent.jpg", "id": "0"}], tmp_path / "out", num_shards=1, **GZIP)) == 1
        assert raw_records(tf, tmp_path / "out", "GZIP") == []
        assert inflated(read_all(tmp_path / "out")) == {"train-00000-of-00001": b""}

    def test_the_index_tells(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """The index states the option; sizes and checksums are those of the files on disk."""
        from google_crc32c import value

        build(make_dataset(12), tmp_path / "out", **GZIP)
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        assert index["options"]["encode"]["compression"] == "gzip"
        assert sum(shard["records"] for shard in index["shards"]) == 12
        for shard in index["shards"]:
            data = (tmp_path / "out" / shard["name"]).read_bytes()
            assert (len(data), f"{value(data):08x}") == (shard["size_bytes"], shard["crc32c"])


class TestSameBytes:
    """The same records and options give the same bytes."""

    @pytest.mark.parametrize("num_shards", [1, 3])
    def test_threads_do_not_matter(self, tmp_path: Path, make_dataset: MakeDataset, num_shards: int) -> None:
        """One thread and four write the same files."""
        dataset = with_large_images(make_dataset(40))
        for threads in (1, 4):
            build(dataset, tmp_path / str(threads), num_threads=threads, num_shards=num_shards, **GZIP)
        assert digests(tmp_path / "1") == digests(tmp_path / "4")

    def test_processes_do_not_matter(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Worker processes write what threads write, failures included."""
        dataset = with_large_images(make_dataset(30))
        Path(dataset[4]["filename"]).unlink()
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(record) + "\n" for record in dataset))
        for engine in EngineName:
            options = EngineOptions(num_threads=2, engine=engine)
            output_options = OutputOptions(encode=EncodeOptions(**GZIP))
            request = BuildRequest(
                "train", tmp_path / engine.name, num_shards=5, output_options=output_options, engine=options
            )
            run_build(open_manifest(manifest), request)
        assert digests(tmp_path / "processes") == digests(tmp_path / "threads")


class TestOneChange:
    """An incremental build is a clean one, byte for byte."""

    def assert_clean(self, project: Project) -> int:
        """Build; the number of records that were encoded."""
        report = project.build()
        assert read_all(project.out) == project.build_clean()
        records = sum(shard.records for shard in report.shards if shard.name in report.built)
        return records - report.copied_records

    def test_nothing(self, project: Project) -> None:
        """Nothing changed: every shard is linked."""
        assert project.build().built == ()

    def test_one_label(self, project: Project) -> None:
        """One changed label: one record is encoded, the others of its shard are copied."""
        project.records["7"]["class"]["label"] = 2
        assert self.assert_clean(project) == 1
        assert project.build().built == ()

    def test_one_more_and_one_less(self, project: Project) -> None:
        """One record added and one removed: only the new one is encoded, although block borders move."""
        project.add("new")
        assert self.assert_clean(project) == 1
        project.remove("7")
        assert self.assert_clean(project) == 0

    def test_a_large_image(self, project: Project) -> None:
        """A small image becomes a large one: blocks split around it."""
        draw_large(project, "7", 4711)
        assert self.assert_clean(project) == 1

    @pytest.mark.parametrize("option", [{"seed": 3}, {"shuffle": False}])
    def test_another_order(self, project: Project, option: dict) -> None:
        """Another order: all records are copied, from anywhere in any block."""
        project.encode |= option
        assert self.assert_clean(project) == 0

    @pytest.mark.parametrize("num_shards", [1, 3, 9])
    def test_num_shards(self, project: Project, num_shards: int) -> None:
        """Another number of shards: all records are copied."""
        project.num_shards = num_shards
        assert self.assert_clean(project) == 0

    def test_compressing_and_back(self, project: Project) -> None:
        """none, gzip, none: records are copied between both kinds of shards, and no image is read again."""
        compressed = read_all(project.out)
        for image in (project.root / "images").iterdir():
            image.rename(image.with_suffix(".away"))
        project.encode = {}
        report = project.build()
        assert (len(report.built), report.copied_records) == (4, COUNT)
        plain = read_all(project.out)
        project.encode = dict(GZIP)
        assert project.build().copied_records == COUNT
        assert read_all(project.out) == compressed
        assert inflated(compressed) == {name: data for name, data in plain.items() if "-of-" in name}

    def test_large_images_are_never_deflated(self, project: Project, deflated: Counter[str]) -> None:
        """Copied images are not compressed again; only small records are, which costs little."""
        project.encode |= {"seed": 1}
        report = project.build()
        assert report.copied_records == COUNT
        assert deflated["store_block"] > 8 * (1 << 15)
        assert deflated["deflate_block"] < 32 * 4096

    def test_another_zlib(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another zlib may write other bytes: every shard is written again, with copied records."""
        monkeypatch.setattr("tfrec_stage.build.fingerprint.zlib_version", lambda: "another zlib")
        report = project.build()
        assert (len(report.built), report.copied_records) == (4, COUNT)
        assert project.build().built == ()

    def test_uncompressed_shards_do_not_depend_on_zlib(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Uncompressed shards and their fingerprints are the same with any zlib."""
        project = Project.of(tmp_path, 8)
        project.build()
        monkeypatch.setattr("tfrec_stage.build.fingerprint.zlib_version", lambda: "another zlib")
        assert project.build().built == ()

    def test_records_have_one_key(self) -> None:
        """A record's key does not cover compression, which changes shards, not records."""
        plain, compressed = (fingerprint.options_digest(OutputOptions(EncodeOptions(**o))) for o in ({}, GZIP))
        assert plain == compressed


class TestDamage:
    """Damage in the cache costs time and nothing else."""

    @pytest.mark.parametrize("place", [0, 5, 12, 200, 0.5, -3])
    def test_a_damaged_shard(self, project: Project, place: float) -> None:
        """A shard that is found to be damaged is built again."""
        name = min(project.names)
        path = project.stored_path(name)
        data = bytearray(path.read_bytes())
        data[int(len(data) * place) if isinstance(place, float) else place] ^= 0x55
        path.unlink()
        path.write_bytes(data)
        assert project.build().built == (name,)
        assert read_all(project.out) == project.build_clean()

    @settings(max_examples=40, deadline=None)
    @given(place=st.integers(0, 10**6))
    def test_damage_that_only_copying_meets(self, tmp_path_factory: pytest.TempPathFactory, place: int) -> None:
        """Damage behind an unchanged signature is detected while copying: the damaged records are encoded again."""
        project = Project.of(tmp_path_factory.mktemp("p"), 12, encode=dict(GZIP), num_shards=1)
        draw_large(project, "3", 3)
        project.build()
        (path,) = find_shards(project.out)
        flip_unseen(path, place % path.stat().st_size)
        project.encode |= {"seed": 1}
        project.build()
        assert read_all(project.out) == project.build_clean()


def flip_unseen(path: Path, place: int) -> None:
    """Flip bits of one byte in every hard link of the file, and restore its mtime."""
    stamp = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place)
        (old,) = file.read(1)
        file.seek(place)
        file.write(bytes([old ^ 0x55]))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


class TestRefusals:
    """Profiles whose readers cannot read compressed shards."""

    @pytest.mark.parametrize("profile", ["tfds", "dali"])
    def test_from_python(self, tmp_path: Path, profile: str) -> None:
        """The conflict is reported before anything is written."""
        expected = f"encode.compression: expected none with the profile {profile}, .* but got gzip"
        with pytest.raises(ConfigError, match=expected):
            build([{"filename": "a", "id": "1"}], tmp_path / "out", compression="gzip", profiles=[profile])
        assert list(tmp_path.iterdir()) == []

    def test_from_the_command_line(self, tmp_path: Path) -> None:
        """One line, exit code 1, nothing written."""
        copy_conf(tmp_path)
        before = set(tmp_path.rglob("*"))
        overrides = ("dataset=train", "encode.compression=gzip", "encode.profiles=[dali]")
        done = stage(*overrides, directory=tmp_path, expect=1)
        assert "encode.compression: expected none with the profile dali" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert set(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("profile", [profile for profile in Profile if profile.name not in ("tfds", "dali")])
    def test_other_profiles_are_accepted(self, profile: Profile) -> None:
        """The other profiles work with compression."""
        assert EncodeOptions(profiles=[profile], **GZIP).compression is Compression.gzip

    def test_an_unknown_compression(self, tmp_path: Path) -> None:
        """Values other than none and gzip are refused."""
        with pytest.raises(ConfigError, match="zstd"):
            build([{"filename": "a", "id": "1"}], tmp_path / "out", compression="zstd")
