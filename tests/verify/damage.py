"""Shards taken apart and put together again, to damage them in one place and nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrec_stage.tfrecord.example import Feature, decode_example, encode_example
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, encode_frame

Features = dict[str, Feature]


def frames_of(path: Path) -> list[bytes]:
    """The frames of a sound shard, whole."""
    data, frames = path.read_bytes(), []
    while data:
        size = HEADER.size + HEADER.unpack(data[: HEADER.size])[0] + FOOTER.size
        frames.append(data[:size])
        data = data[size:]
    return frames


def offsets_of(path: Path) -> list[int]:
    """Where each frame of a sound shard begins."""
    sizes = [len(frame) for frame in frames_of(path)]
    return [sum(sizes[:number]) for number in range(len(sizes))]


def replace_file(path: Path, data: bytes) -> None:
    """Other content under the same name."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    replace_file(path, bytes(data))


def edit_frames(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Other frames, each with its checksums."""
    replace_file(path, b"".join(edit(frames_of(path))))


def edit_record(path: Path, record: int, edit: Callable[[Features], Any]) -> None:
    """Other features of one record, whose frame is right."""
    frames = frames_of(path)
    features = decode_example(frames[record][HEADER.size : -FOOTER.size])
    edit(features)
    frames[record] = b"".join(encode_frame(encode_example(features)))
    replace_file(path, b"".join(frames))


def set_values(key: str, *values: Any) -> Callable[[Features], None]:
    """An edit: other values of one key, of the kind that it has."""

    def edit(features: Features) -> None:
        features[key] = Feature(features[key].kind, list(values))

    return edit


def features_of(path: Path, record: int) -> Features:
    """One record of a sound shard."""
    return decode_example(frames_of(path)[record][HEADER.size : -FOOTER.size])


def edit_json(path: Path, edit: Callable[[Any], Any]) -> None:
    """Another value in a JSON file."""
    value = json.loads(path.read_text())
    edit(value)
    replace_file(path, json.dumps(value, indent=2).encode())
