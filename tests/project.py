"""A small dataset with an output directory and a shard cache, for tests that change it and build it again."""

import json
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conftest import encode_noise
from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.build.build import BuildReport, BuildRequest, build
from tfrec_stage.build.failures import FailureLimit
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.dataset_info import Label
from tfrec_stage.engine import EngineOptions
from tfrec_stage.manifest import open_manifest
from tfrec_stage.progress import ProgressListener, silence

Content = dict[str, bytes]


@dataclass
class Project:
    """Images, records and options of a dataset; all files are below one folder."""

    root: Path
    """Folder of images/, manifest.jsonl, out/ and the shard cache."""
    is_pinned: bool = True
    """Whether records have the sha256 of their image."""
    num_shards: int = 4
    """Number of shards."""
    encode: dict[str, Any] = field(default_factory=dict)
    """Options of the group `encode` that are not the default."""
    annotations: dict[str, Any] = field(default_factory=dict)
    """Options of the group `annotations` that are not the default."""
    labels: tuple[Label, ...] = ()
    """Classes."""
    max_failures: str | None = None
    """How many images may fail, as `max_failures`; None for any number."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Image records by id, in the order of the manifest."""
    store: Path | None = None
    """Directory of the shard cache (`store_dir`); `store` in `root` by default."""

    def __post_init__(self) -> None:
        (self.root / "images").mkdir(parents=True, exist_ok=True)
        self.store = self.store or self.root / "store"

    @classmethod
    def of(cls, root: Path, count: int, **options: Any) -> "Project":
        """Create a project with `count` JPEG images."""
        project = cls(root, **options)
        for number in range(count):
            project.add(str(number))
        return project

    @property
    def out(self) -> Path:
        """The output directory."""
        return self.root / "out"

    @property
    def names(self) -> dict[str, str]:
        """Fingerprint of each shard by its file name, from the index."""
        index = json.loads((self.out / "index.json").read_text())
        return {shard["name"]: shard["fingerprint"] for shard in index["shards"]}

    def image(self, name: str) -> Path:
        """Return the path of a record's image."""
        return self.root / "images" / self.records[name]["filename"]

    def add(self, name: str, image_format: str = "JPEG") -> None:
        """Add a record with an image of its own."""
        self.records[name] = {"filename": f"{name}.{image_format.lower()}", "id": name, "class": {"label": 1}}
        self.draw(name, int.from_bytes(name.encode()) % 10_000, image_format)

    def draw(self, name: str, number: int, image_format: str = "JPEG") -> None:
        """Replace a record's image by another one; each number gives another image."""
        self.image(name).unlink(missing_ok=True)
        self.image(name).write_bytes(encode_noise(number, image_format=image_format))
        self.pin(name)

    def pin(self, name: str) -> None:
        """Write the image's sha256 into its record, as importers do."""
        if self.is_pinned:
            self.records[name]["sha256"] = sha256(self.image(name).read_bytes()).hexdigest()

    def remove(self, name: str) -> None:
        """Remove a record and its image."""
        self.image(name).unlink(missing_ok=True)
        del self.records[name]

    def build(self, listener: ProgressListener = silence) -> BuildReport:
        """Build into `out`, with the shard cache."""
        return self._build(self.out, self.store, listener)

    def build_clean(self) -> Content:
        """Build into another directory without a shard cache, and return the content of its files."""
        elsewhere = self.root / "elsewhere"
        self._build(elsewhere, None, silence)
        content = read_all(elsewhere)
        shutil.rmtree(elsewhere)
        return content

    def stored(self) -> set[str]:
        """Return the relative paths of all files in the shard cache."""
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}

    def stored_path(self, shard: str) -> Path:
        """Return the path of a shard of the output in the shard cache."""
        return self.store / "v1" / "shards" / self.names[shard]

    def shard_of(self, name: str) -> str:
        """Return the name of the shard that has a record, found by the file name in its Example."""
        filename = self.records[name]["filename"].encode()
        field = bytes([10, len(filename)]) + filename  # protobuf: tag of field 1 with a length, then the bytes
        (shard,) = [shard for shard in self.names if field in (self.out / shard).read_bytes()]
        return shard

    def _build(self, output: Path, store: Path | None, listener: ProgressListener) -> BuildReport:
        manifest = self.root / "manifest.jsonl"
        write_if_changed(manifest, "".join(json.dumps(record) + "\n" for record in self.records.values()))
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=self.num_shards,
            output_options=OutputOptions(EncodeOptions(**self.encode), AnnotationPolicy(**self.annotations)),
            images_root=self.root / "images",
            store_directory=store,
            labels=self.labels,
            engine=EngineOptions(num_threads=2),
            failure_limit=None if self.max_failures is None else FailureLimit(self.max_failures),
        )
        return build(open_manifest(manifest), request, listener)


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file unless it has this content already, so that its time and inode stay."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def read_all(directory: Path) -> Content:
    """Return the content of every file in a directory by name."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def files(directory: Path) -> dict[str, tuple[int, int]]:
    """Return inode and modification time of every file by name; they change if a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(directory.iterdir())}
