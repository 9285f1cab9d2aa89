"""Records read from shards equal those that the shards were built from, and build the same shards again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import encode_noise
from tests.reading.conftest import IMAGES, describe
from tfrec_stage import create, read_records
from tfrec_stage.errors import ConfigError, ShardError
from tfrec_stage.tfrecord.example import Kind, encode_example
from tfrec_stage.tfrecord.framing import encode_frame


def write_shard(path: Path, *examples: dict[str, tuple[Kind, Any]]) -> Path:
    """Write a TFRecord file with these features, as any program may write it."""
    path.write_bytes(b"".join(b"".join(encode_frame(encode_example(features))) for features in examples))
    return path


def shard_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*-of-*")}


def test_a_record_has_the_values_it_was_built_from(shards: Path, root: Path) -> None:
    """A record has every value that it was built from, and the image with its description."""
    by_id = {record["id"]: record for record in read_records(shards)}
    assert len(by_id) == IMAGES
    for number in range(IMAGES):
        made, record = describe(number), by_id[f"{number:02d}"]
        assert {key: record[key] for key in made} == made
        file = root / "images" / record["filename"]
        assert (record["encoded"] == file.read_bytes()) == (file.suffix == ".jpeg")
        assert [record[key] for key in ("height", "width")] == [30, 40 + number % 3 * 8]
        assert [record[key] for key in ("format", "colorspace", "channels")] == ["JPEG", "RGB", 3]
        assert set(record) == {
            *made, "filename", "encoded", "height", "width", "format", "colorspace", "channels"
        }  # fmt: skip


texts = st.text(st.characters(codec="utf-8"), max_size=8)
floats = st.floats(-1e30, 1e30)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=2))


def edges(low: str, high: str) -> st.SearchStrategy[dict[str, float]]:
    """Both edges of a box, far enough apart to differ in 32 bits."""
    return st.lists(st.floats(0, 1), min_size=2, max_size=2, unique_by=lambda value: round(value * 1000)).map(
        lambda pair: dict(zip((low, high), sorted(pair), strict=True))
    )


@st.composite
def annotations(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid annotations of an image."""
    size, parts = draw(st.integers(0, 3)), draw(st.integers(0, 2))

    def column(values: st.SearchStrategy[Any], length: int) -> list[Any]:
        return draw(st.lists(values, min_size=length, max_size=length) | st.just([]))

    corners = [draw(edges("xmin", "xmax")) | draw(edges("ymin", "ymax")) for _ in range(size)]
    boxes: dict[str, Any] = {edge: [box[edge] for box in corners] for edge in ("xmin", "xmax", "ymin", "ymax")}
    boxes |= {name: column(floats, size) for name in ("score", "conf")}
    boxes |= {"label": column(st.integers(0, 99), size), "text": column(texts, size)}
    positions = {axis: [draw(st.floats(0, 1)) for _ in range(size * parts)] for axis in ("x", "y")}
    return {
        "class": {"label": draw(st.integers(0, 99)), "text": draw(texts), "conf": draw(floats)},
        "extra": draw(json_values),
        "object": {
            "area": column(st.floats(0, 1), size),
            "id": column(texts, size),
            "is_crowd": column(st.integers(0, 1), size),
            "bbox": boxes,
            "parts": positions | {"v": column(st.integers(0, 2), size * parts), "score": column(floats, size * parts)},
        },
    }


@given(
    st.lists(annotations(), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_build_the_same_shards_again(
    tmp_path_factory, described: list[dict], store_images: bool, od_api_keys: bool, shuffle: bool, num_shards: int
) -> None:
    """`create()` with the records read builds the same bytes, with or without images, for any annotations."""
    root = tmp_path_factory.mktemp("again")
    dataset = []
    for number, annotation in enumerate(described):
        name = f"{number}.{'png' if number % 2 else 'jpg'}"
        (root / name).write_bytes(encode_noise(number, image_format="PNG" if number % 2 else "JPEG"))
        dataset.append({"filename": name, "id": f"record {number}", **annotation})
    options = {
        "num_shards": num_shards,
        "num_threads": 1,
        "shuffle": shuffle,
        "store_images": store_images,
        "od_api_keys": od_api_keys,
        "images_root": root,
    }
    assert create(dataset, "train", root / "first", **options) == []
    records = list(read_records(root / "first"))
    assert all(("encoded" in record) == store_images for record in records)
    assert all(("is_crowd" in record["object"]) == od_api_keys for record in records)
    assert create(records, "train", root / "second", **options) == []
    assert shard_bytes(root / "second") == shard_bytes(root / "first")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A name of any bytes is read back as Python represents it, and opens its file."""
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (tmp_path / name).write_bytes(encode_noise(0))
    except OSError:
        pytest.skip("needs a file system that takes names of any bytes")
    create([{"filename": str(tmp_path / name), "id": "0"}], "train", tmp_path / "out", 1, 1)
    (record,) = read_records(tmp_path / "out")
    assert Path(record["filename"]).read_bytes() == encode_noise(0)


@pytest.mark.parametrize("extra", [{"b": [1, None], "a": "é"}, [1], 5, True, None])
def test_extra_is_its_json_text(tmp_path: Path, extra: Any) -> None:
    """An `extra` that is not a string is read back as JSON text."""
    data = encode_noise(0)
    about = {"height": 30, "width": 40, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    create([{"filename": "a", "id": "0", "extra": extra, "encoded": data, **about}], "train", tmp_path / "out", 1, 1)
    (record,) = read_records(tmp_path / "out")
    assert json.loads(record["extra"]) == extra


def test_only_requested_fields_are_read(shards: Path) -> None:
    """Records have only the requested values, nested as usual."""
    records = list(read_records(shards, fields=["image/class/label", "image/object/bbox/xmin"]))
    assert len(records) == IMAGES
    for record in records:
        assert set(record) == {"class", "object"}
        assert set(record["class"]) == {"label"}
        assert set(record["object"]["bbox"]) == {"xmin"}


def test_readers_together_get_all_records(shards: Path) -> None:
    """Any number of readers get each record once, in the stored order, and nearly equal numbers of records."""
    order = [record["id"] for record in read_records(shards)]
    for readers in (1, 2, 3, 5, 7):
        parts = [[record["id"] for record in read_records(shards, shard=(i, readers))] for i in range(readers)]
        assert sorted(chain(*parts)) == sorted(order)
        assert all(order.index(one) < order.index(other) for part in parts for one, other in pairwise(part))
        assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_records_are_streamed(shards: Path, tmp_path: Path) -> None:
    """Records before a damaged one are read; the damaged one is a ShardError with its byte offset."""
    (first, *_) = sorted(shards.glob("*-of-*"))
    content = bytearray(first.read_bytes())
    content[-10] ^= 1
    (tmp_path / "a").write_bytes(content)
    records = read_records(tmp_path / "a")
    assert next(records)["height"] == 30
    with pytest.raises(ShardError, match=r"a: the payload of the record at byte \d+ does not have its CRC32C"):
        for _ in count():
            next(records)


def test_wrong_arguments_are_raised_by_the_call(shards: Path, tmp_path: Path) -> None:
    """Wrong arguments raise from the call itself, before a record is requested."""
    with pytest.raises(ShardError, match="there is no file"):
        read_records(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="shard: expected"):
        read_records(shards, shard=(2, 2))
    with pytest.raises(ConfigError, match="did you mean 'image/extra'"):
        read_records(shards, fields=["image/extras"])


def test_shards_of_other_programs(tmp_path: Path) -> None:
    """Missing keys give no value, unknown ones are ignored, and those of the Object Detection API are used instead."""
    path = write_shard(
        tmp_path / "other.tfrecord",
        {"image/filename": (Kind.BYTES, [b"a.jpg"]), "mean": (Kind.FLOAT, [0.5]), "image/extra": (Kind.BYTES, [])},
        {
            "image/source_id": (Kind.BYTES, [b"7"]),
            "image/object/class/label": (Kind.INT64, [1, 2]),
            "image/object/class/text": (Kind.BYTES, [b"cat", b"caf\xe9"]),
            "image/object/bbox/score": (Kind.BYTES, []),
        },
    )
    first, second = read_records(path)
    assert first == {"filename": "a.jpg"}
    assert second == {"id": "7", "object": {"bbox": {"score": [], "label": [1, 2], "text": ["cat", "caf\udce9"]}}}


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ((Kind.FLOAT, [30.0]), "expected image/height to hold int64 values, but it holds float"),
        ((Kind.INT64, [30, 31]), "expected image/height to hold one value, but it holds 2"),
    ],
)
def test_other_kinds_are_errors(tmp_path: Path, feature: tuple[Kind, Any], message: str) -> None:
    """A key with values of another kind than in the schema is a ShardError with file, byte and key."""
    path = write_shard(tmp_path / "other", {"image/width": (Kind.INT64, [1])}, {"image/height": feature})
    records = read_records(path)
    assert next(records) == {"width": 1}
    with pytest.raises(ShardError, match=rf"other: the record at byte \d\d: {message}"):
        next(records)


def test_tensorflow_is_not_imported(shards: Path) -> None:
    """Neither importing the package and its readers nor reading records imports TensorFlow or Hydra."""
    program = (
        "import sys, tfrec_stage\n"
        "from tfrec_stage import create, feature_spec, load_dataset, read_records\n"
        f"assert sum(1 for _ in read_records({str(shards)!r})) == {IMAGES}\n"
        "assert 'tensorflow' not in sys.modules and 'hydra' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_exist(make_dataset: Callable) -> None:
    """Every public name exists, and another one is Python's usual AttributeError."""
    import tfrec_stage

    assert {"create", "load_dataset", "read_records"} <= set(tfrec_stage.__all__)
    assert all(callable(getattr(tfrec_stage, name)) for name in tfrec_stage.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'load_datasets'"):
        _ = tfrec_stage.load_datasets
