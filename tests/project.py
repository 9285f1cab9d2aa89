"""A small dataset with its output directory and its store, built again and again."""

import json
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conftest import encode_noise
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
    """Images, records and options; everything lies below one folder."""

    root: Path
    """Holds images/, manifest.jsonl, out/ and the store."""
    is_pinned: bool = True
    """Whether records tell the sha256 of their image."""
    num_shards: int = 4
    """Number of shards."""
    encode: dict[str, Any] = field(default_factory=dict)
    """Identity options that are not the default."""
    labels: tuple[Label, ...] = ()
    """Classes."""
    max_failures: str | None = None
    """How many images may fail."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Image records by id, in the order of the manifest."""
    store: Path | None = None
    """Directory of the store; made of `root` if not given."""

    def __post_init__(self) -> None:
        (self.root / "images").mkdir(parents=True, exist_ok=True)
        self.store = self.store or self.root / "store"

    @classmethod
    def of(cls, root: Path, count: int, **options: Any) -> "Project":
        """A project of so many JPEG images."""
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
        """Names of the stored files by fingerprint, as the index has them."""
        index = json.loads((self.out / "index.json").read_text())
        return {shard["name"]: shard["fingerprint"] for shard in index["shards"]}

    def image(self, name: str) -> Path:
        """The image file of a record."""
        return self.root / "images" / self.records[name]["filename"]

    def add(self, name: str, image_format: str = "JPEG") -> None:
        """One more record, with an image of its own."""
        self.records[name] = {"filename": f"{name}.{image_format.lower()}", "id": name, "class": {"label": 1}}
        self.draw(name, int.from_bytes(name.encode()) % 10_000, image_format)

    def draw(self, name: str, number: int, image_format: str = "JPEG") -> None:
        """Give a record's image another content."""
        self.image(name).unlink(missing_ok=True)
        self.image(name).write_bytes(encode_noise(number, image_format=image_format))
        self.pin(name)

    def pin(self, name: str) -> None:
        """Write the image's sha256 into its record, as importers do."""
        if self.is_pinned:
            self.records[name]["sha256"] = sha256(self.image(name).read_bytes()).hexdigest()

    def remove(self, name: str) -> None:
        """Take a record and its image away."""
        self.image(name).unlink(missing_ok=True)
        del self.records[name]

    def build(self, listener: ProgressListener = silence) -> BuildReport:
        """Build into `out`, with the store."""
        return self._build(self.out, self.store, listener)

    def build_clean(self) -> Content:
        """What a build elsewhere gives that has no store."""
        elsewhere = self.root / "elsewhere"
        self._build(elsewhere, None, silence)
        content = read_all(elsewhere)
        shutil.rmtree(elsewhere)
        return content

    def stored(self) -> set[str]:
        """Names of all files in the store, relative."""
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}

    def stored_path(self, shard: str) -> Path:
        """Where the store keeps a shard of the output."""
        return self.store / "v1" / "shards" / self.names[shard]

    def shard_of(self, name: str) -> str:
        """The shard of the output that holds a record, known by the file name in its Example."""
        filename = self.records[name]["filename"].encode()
        field = bytes([10, len(filename)]) + filename
        (shard,) = [shard for shard in self.names if field in (self.out / shard).read_bytes()]
        return shard

    def _build(self, output: Path, store: Path | None, listener: ProgressListener) -> BuildReport:
        manifest = self.root / "manifest.jsonl"
        write_if_new(manifest, "".join(json.dumps(record) + "\n" for record in self.records.values()))
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=self.num_shards,
            output_options=OutputOptions(encode=EncodeOptions(**self.encode)),
            images_root=self.root / "images",
            store_directory=store,
            labels=self.labels,
            engine=EngineOptions(num_threads=2),
            failure_limit=None if self.max_failures is None else FailureLimit(self.max_failures),
        )
        return build(open_manifest(manifest), request, listener)


def write_if_new(path: Path, text: str) -> None:
    """Write a file that does not say so already."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def read_all(directory: Path) -> Content:
    """Content of every file."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def files(directory: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: those of a file that was made anew differ."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(directory.iterdir())}
