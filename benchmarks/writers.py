"""What a build is measured against: bare copies and decodes, and the writers a user would pick instead.

Each takes photos, an empty directory and a number of threads, and returns the number of images it handled. Writers
that know no threads get one writer a thread, each with its own share of the images. Their packages are imported when
they are called, for most users have not installed them.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from PIL import Image

from benchmarks.photos import PhotoSet
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.images.policy import Verify
from tfrec_stage.manifest import open_manifest

NUM_SHARDS = 10
Item = TypeVar("Item")
Writer = Callable[[PhotoSet, Path, int], int]


def build_shards(
    photos: PhotoSet,
    out: Path,
    threads: int,
    *,
    verify: Verify,
    num_shards: int = NUM_SHARDS,
    engine: EngineName = EngineName.threads,
) -> int:
    """This package: the whole job, from the manifest to the index; no shard comes from an earlier build."""
    request = BuildRequest(
        name="train",
        output_directory=out / "shards",
        num_shards=num_shards,
        output_options=OutputOptions(EncodeOptions(verify=verify)),
        images_root=photos.root,
        engine=EngineOptions(threads, engine),
    )
    return build(open_manifest(photos.manifest), request).statistics.images


def copy_bare(photos: PhotoSet, out: Path, threads: int) -> int:
    """Read every file once, write the same bytes once, by system calls alone: no writer can do less."""

    def copy(paths: tuple[str, str]) -> None:
        source = os.open(paths[0], os.O_RDONLY)
        content = os.read(source, os.fstat(source).st_size)
        os.close(source)
        target = os.open(paths[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        written = os.write(target, content)
        os.close(target)
        assert written == len(content)

    return _for_each(copy, [(str(path), str(out / path.name)) for path in photos.paths], threads)


def decode_bare(photos: PhotoSet, _out: Path, threads: int) -> int:
    """Decode every image with Pillow, at its full size and in colour, and write nothing."""
    return _for_each(_decode, photos.paths, threads)


def recode_bare(photos: PhotoSet, out: Path, threads: int) -> int:
    """Decode every image with Pillow and write it as a JPEG of the quality that builds take by default."""

    def recode(path: Path) -> None:
        _decode(path).convert("RGB").save(out / f"{path.stem}.jpg", quality=95, subsampling=0)

    return _for_each(recode, photos.paths, threads)


def write_tensorflow(photos: PhotoSet, out: Path, threads: int) -> int:
    """TensorFlow's documented way: `tf.train.Example` and `tf.io.TFRecordWriter`; the header read by Pillow."""
    tf = import_module("tensorflow")

    def write(share: tuple[int, Sequence[dict[str, Any]]]) -> int:
        number, records = share
        with tf.io.TFRecordWriter(str(out / f"train-{number:05d}-of-{NUM_SHARDS:05d}")) as writer:
            for record in records:
                writer.write(_tensorflow_example(photos.root, record).SerializeToString())
        return len(records)

    return _sum(write, enumerate(_shares(photos.records, NUM_SHARDS)), threads)


def write_tfds(photos: PhotoSet, out: Path, _threads: int) -> int:
    """TensorFlow Datasets: a builder that yields file names; it knows no threads."""
    builder = _tfds_builder()(photos, data_dir=out)
    builder.download_and_prepare()
    return int(builder.info.splits["train"].num_examples)


def write_webdataset(photos: PhotoSet, out: Path, threads: int) -> int:
    """webdataset: tar shards of image and JSON."""
    webdataset = import_module("webdataset")

    def write(share: tuple[int, Sequence[dict[str, Any]]]) -> int:
        number, records = share
        pattern = str(out / f"train-{number}-%05d.tar")
        with webdataset.ShardWriter(pattern, maxcount=-(-len(photos) // NUM_SHARDS), verbose=0) as writer:
            for record in records:
                content = (photos.root / record["filename"]).read_bytes()
                writer.write({"__key__": record["id"], "jpg": content, "json": json.dumps(record).encode()})
        return len(records)

    return _sum(write, enumerate(_shares(photos.records, threads)), threads)


def write_tfrecord(photos: PhotoSet, out: Path, threads: int) -> int:
    """The `tfrecord` package, as PyTorch users know it; no header is read."""
    tfrecord = _tfrecord()

    def write(share: tuple[int, Sequence[dict[str, Any]]]) -> int:
        number, records = share
        writer = tfrecord.TFRecordWriter(str(out / f"train-{number:05d}-of-{NUM_SHARDS:05d}"))
        for record in records:
            features = flat_features(record, (photos.root / record["filename"]).read_bytes(), 0, 0)
            writer.write({key: (values, _TFRECORD_KINDS[kind]) for key, (kind, values) in features.items() if values})
        writer.close()
        return len(records)

    return _sum(write, enumerate(_shares(photos.records, NUM_SHARDS)), threads)


OTHERS: dict[str, tuple[str, str, Writer]] = {
    "TensorFlow's documented way": ("tensorflow", "tensorflow", write_tensorflow),
    "`tfrecord` writer": ("tfrecord", "tfrecord", write_tfrecord),
    "webdataset `ShardWriter`": ("webdataset", "webdataset", write_webdataset),
    "TFDS builder (one thread)": ("tensorflow_datasets", "tensorflow-datasets", write_tfds),
}
"""Other writers by name: the module that must be there, the package that brings it, the writer."""


@cache
def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    return find_spec(module) is not None


def flat_features(record: dict[str, Any], content: bytes, width: int, height: int) -> dict[str, tuple[str, list[Any]]]:
    """The 27 keys of a record: kind and values."""
    objects, boxes, parts = record["object"], record["object"]["bbox"], record["object"]["parts"]
    return {
        "image/id": ("bytes", [record["id"].encode()]),
        "image/filename": ("bytes", [record["filename"].encode()]),
        "image/encoded": ("bytes", [content]),
        "image/height": ("int64", [height]),
        "image/width": ("int64", [width]),
        "image/colorspace": ("bytes", [b"RGB"]),
        "image/channels": ("int64", [3]),
        "image/format": ("bytes", [b"JPEG"]),
        "image/extra": ("bytes", [b""]),
        "image/class/label": ("int64", [record["class"]["label"]]),
        "image/class/text": ("bytes", [record["class"]["text"].encode()]),
        "image/class/conf": ("float", [1.0]),
        "image/object/count": ("int64", [len(boxes["xmin"])]),
        "image/object/area": ("float", objects["area"]),
        "image/object/id": ("bytes", [name.encode() for name in objects["id"]]),
        **{f"image/object/bbox/{edge}": ("float", boxes[edge]) for edge in ("xmin", "xmax", "ymin", "ymax")},
        "image/object/bbox/score": ("float", []),
        "image/object/bbox/label": ("int64", boxes["label"]),
        "image/object/bbox/text": ("bytes", [text.encode() for text in boxes["text"]]),
        "image/object/bbox/conf": ("float", []),
        "image/object/parts/x": ("float", parts["x"]),
        "image/object/parts/y": ("float", parts["y"]),
        "image/object/parts/v": ("int64", parts["v"]),
        "image/object/parts/score": ("float", []),
    }


def tensorflow_example(features: dict[str, tuple[str, list[Any]]]) -> Any:
    """A `tf.train.Example` of these features."""
    tf = import_module("tensorflow")

    makers: dict[str, Callable[[list[Any]], Any]] = {
        "bytes": lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
        "int64": lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
        "float": lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    }
    feature = {key: makers[kind](values) for key, (kind, values) in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


_TFRECORD_KINDS = {"bytes": "byte", "int64": "int", "float": "float"}


@cache
def _tfrecord() -> Any:
    """The `tfrecord` package. A process can hold only one set of these protobuf classes: it has to use TensorFlow's."""
    classes = sys.modules["tfrecord.example_pb2"] = ModuleType("example_pb2")
    for module in ("feature", "example"):
        vars(classes).update(vars(import_module(f"tensorflow.core.example.{module}_pb2")))
    return import_module("tfrecord")


def _tensorflow_example(root: Path, record: dict[str, Any]) -> Any:
    path = root / record["filename"]
    content = path.read_bytes()
    with Image.open(path) as image:
        width, height = image.size
    return tensorflow_example(flat_features(record, content, width, height))


@cache
def _tfds_builder() -> Any:
    tf, tfds = import_module("tensorflow"), import_module("tensorflow_datasets")
    tfds.disable_progress_bar()

    class Photos(tfds.core.GeneratorBasedBuilder):
        """Images by file name, with their boxes."""

        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, photos: PhotoSet, **options: Any) -> None:
            self._photos = photos
            super().__init__(**options)

        def _info(self) -> Any:
            objects = {"bbox": tfds.features.BBoxFeature(), "label": tf.int64}
            features = {"image": tfds.features.Image(), "id": tf.string, "objects": tfds.features.Sequence(objects)}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
            for record in self._photos.records:
                boxes = record["object"]["bbox"]
                corners = zip(boxes["ymin"], boxes["xmin"], boxes["ymax"], boxes["xmax"], strict=True)
                objects = [
                    {"bbox": tfds.features.BBox(*box), "label": label}
                    for box, label in zip(corners, boxes["label"], strict=True)
                ]
                path = str(self._photos.root / record["filename"])
                yield record["id"], {"image": path, "id": record["id"], "objects": objects}

    return Photos


def _decode(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def _for_each(work: Callable[[Item], object], items: Sequence[Item], threads: int) -> int:
    """Do the work on every item, each thread on its own share, without a queue between; the number of items."""
    return _sum(partial(_do_share, work), _shares(items, threads), threads)


def _do_share(work: Callable[[Item], object], items: Sequence[Item]) -> int:
    for item in items:
        work(item)
    return len(items)


def _sum(work: Callable[[Item], int], shares: Any, threads: int) -> int:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, shares))


def _shares(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    return [items[number::count] for number in range(count)]
