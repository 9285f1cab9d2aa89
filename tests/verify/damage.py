"""Take shards apart and put them together again, to damage them in exactly one place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.verify.conftest import Build
from tfrec_stage.tfrecord.example import Feature, decode_example, encode_example
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, encode_frame
from tfrec_stage.verify.findings import Finding

Features = dict[str, Feature]
Expected = list[tuple[str, str, int | None, int | None]]
"""Kind, file, record and offset of each finding."""

RECORD = 2
"""The record of shard 1 that is damaged."""
RECORDS = 12
"""Number of records of the build."""


def frames_of(path: Path) -> list[bytes]:
    """Return the whole frames of a valid shard."""
    data, frames = path.read_bytes(), []
    while data:
        size = HEADER.size + HEADER.unpack(data[: HEADER.size])[0] + FOOTER.size
        frames.append(data[:size])
        data = data[size:]
    return frames


def offsets_of(path: Path) -> list[int]:
    """Return the offset of each frame of a valid shard."""
    sizes = [len(frame) for frame in frames_of(path)]
    return [sum(sizes[:number]) for number in range(len(sizes))]


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file; a hard link of the old one keeps its content."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    replace_file(path, bytes(data))


def edit_frames(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Replace the frames of a shard. Each has its checksums, so only the content is wrong."""
    replace_file(path, b"".join(edit(frames_of(path))))


def edit_record(path: Path, record: int, edit: Callable[[Features], Any]) -> None:
    """Edit the features of one record, and write its frame with right checksums."""
    frames = frames_of(path)
    features = decode_example(frames[record][HEADER.size : -FOOTER.size])
    edit(features)
    frames[record] = b"".join(encode_frame(encode_example(features)))
    replace_file(path, b"".join(frames))


def set_values(key: str, *values: Any) -> Callable[[Features], None]:
    """Return an edit that replaces the values of one key, of the same kind."""

    def edit(features: Features) -> None:
        features[key] = Feature(features[key].kind, list(values))

    return edit


def features_of(path: Path, record: int) -> Features:
    """Return the features of one record of a valid shard."""
    return decode_example(frames_of(path)[record][HEADER.size : -FOOTER.size])


def edit_json(path: Path, edit: Callable[[Any], Any]) -> None:
    """Edit the value in a JSON file."""
    value = json.loads(path.read_text())
    edit(value)
    replace_file(path, json.dumps(value, indent=2).encode())


def summaries(findings: list[Finding]) -> Expected:
    """Return what identifies each finding."""
    return [(finding.kind, finding.file, finding.record, finding.offset) for finding in findings]


def location_of(build: Build, record: int = RECORD, shard: int = 1) -> tuple[str, int, int]:
    """Return file, record and offset as a finding has them."""
    return build.shard(shard).name, record, offsets_of(build.shard(shard))[record]


def index_mismatch(build: Build, shard: int = 1) -> tuple[str, str, None, None]:
    """Return the finding that a changed shard has as well: it is not the one in the index."""
    return ("index_mismatch", build.shard(shard).name, None, None)


def image_of(build: Build) -> bytes:
    """Return the image of the damaged record."""
    return features_of(build.shard(1), RECORD)["image/encoded"].values[0]
