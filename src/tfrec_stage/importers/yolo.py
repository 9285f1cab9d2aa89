"""YOLO: one text file an image, one line an object → image records.

Source: the dataset formats of Ultralytics for detect, segment, pose and oriented boxes,
https://docs.ultralytics.com/datasets/.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.folders import ImageFolder, strip_suffix, walk_files
from tfrec_stage.importers.instances import Box, Instance, Part, to_objects
from tfrec_stage.importers.labels import show_names
from tfrec_stage.importers.outlines import polygon_area
from tfrec_stage.importers.values import AnnotationError, ImportedDataset, Problem
from tfrec_stage.labels import Label
from tfrec_stage.records import ImageRecord

Names = list[str] | dict[int, str]
KeypointShape = tuple[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=2, le=3)]]
_YAML: Final = (".yaml", ".yml")
_BOX_NUMBERS: Final = 4
_NOT_LABELS: Final = frozenset({"classes"})  # labelImg puts its class names among the label files


def read(
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
    *,
    names: Names | None = None,
    kpt_shape: KeypointShape | None = None,
) -> ImportedDataset:
    """Read label files and data.yaml.

    A line is `class xc yc w h`; or `class x0 y0 x1 y1 x2 y2 …`, an outline or an oriented box, of which the
    box around it and its area are kept; or, with `kpt_shape`, `class xc yc w h` and x, y or x, y, v of each
    keypoint. All are normalised. A keypoint without v is visible unless it is at (0, 0) or negative. An image
    whose label file is empty or missing has no objects. The path of an image below `images` is the record's
    id. Labels come in the order of YOLO's class numbers.

    Args:
        annotations: data.yaml, the folder of the label files, or both. Without the folder it is `images` with its
            last "images" replaced by "labels".
        images: folder of the images.
        images_root: folder that records' `filename` starts from.
        names: class names, as a list or by number, instead of those in data.yaml.
        kpt_shape: number of keypoints, and of numbers for each (2 or 3), instead of that in data.yaml.

    Raises:
        SourceError: a folder or data.yaml cannot be read, or nothing states the class names.
    """
    folder = ImageFolder(images, images_root)
    stated = _read_data_yaml([path for path in annotations if path.suffix in _YAML])
    class_names = stated.names if names is None else names
    if class_names is None:
        raise SourceError("expected class names in data.yaml or in the option `names`, but got none")
    reader = _LineReader(_number_labels(class_names), kpt_shape or stated.kpt_shape)
    labels_folder = _find_labels_folder([path for path in annotations if path.suffix not in _YAML], images)
    return ImportedDataset(tuple(reader.labels.values()), _to_records(folder, labels_folder, reader))


class _DataYaml(msgspec.Struct, frozen=True):
    names: Names | None = None
    kpt_shape: KeypointShape | None = None


def _read_data_yaml(paths: list[Path]) -> _DataYaml:
    if not paths:
        return _DataYaml()
    if len(paths) > 1:
        raise SourceError(f"expected one data.yaml, but got {', '.join(map(str, paths))}")
    try:
        return msgspec.yaml.decode(paths[0].read_bytes(), type=_DataYaml)
    except (OSError, msgspec.MsgspecError) as error:
        raise SourceError(f"{paths[0]}: expected data.yaml with `names`, but: {error}") from error


def _number_labels(names: Names) -> dict[int, Label]:
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    ordered = enumerate(sorted(by_number))
    return {number: Label(label, by_number[number], source_id=number) for label, number in ordered}


def _find_labels_folder(folders: list[Path], images: Path) -> Path:
    if len(folders) > 1:
        raise SourceError(f"expected one folder of label files, but got {', '.join(map(str, folders))}")
    folder = folders[0] if folders else _replace_last(images, "images", "labels")
    if not folder.is_dir():
        raise SourceError(f"expected a folder of label files, but there is no {folder}; name it in `annotations`")
    return folder


def _replace_last(path: Path, old: str, new: str) -> Path:
    parts = path.parts if old in path.parts else path.absolute().parts
    if old not in parts:
        raise SourceError(f"expected {old!r} in the path of the images, or a folder in `annotations`, but got {path}")
    place = len(parts) - 1 - parts[::-1].index(old)
    return Path(*parts[:place], new, *parts[place + 1 :])


def _to_records(folder: ImageFolder, labels_folder: Path, reader: "_LineReader") -> Iterator[ImageRecord | Problem]:
    label_files = {strip_suffix(name): labels_folder / name for name in walk_files(labels_folder, {".txt"})}
    without_image = label_files.keys() - _NOT_LABELS
    for name in walk_files(folder.path):
        without_image -= {strip_suffix(name)}
        instances, problems = reader.read_file(label_files.get(strip_suffix(name)))
        if problems:
            yield from problems
        else:
            objects = to_objects(instances, reader.num_parts)
            yield ImageRecord(filename=folder.filename(name), id=name, object=objects)
    for key in sorted(without_image):
        yield Problem(str(label_files[key]), f"expected an image {key}.* in {folder.path}, but got none")


@dataclass(frozen=True, slots=True)
class _LineReader:
    """What a label file's lines mean."""

    labels: Mapping[int, Label]
    """By YOLO's class number, in its order."""
    kpt_shape: tuple[int, int] | None
    """Number of keypoints, and of numbers for each; None: lines have none."""

    @property
    def num_parts(self) -> int:
        return self.kpt_shape[0] if self.kpt_shape else 0

    def read_file(self, path: Path | None) -> tuple[list[Instance], list[Problem]]:
        """Give the objects of one image; without a file there are none."""
        if path is None:
            return [], []
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            return [], [Problem(str(path), f"expected lines of text, but: {error}")]
        instances: list[Instance] = []
        problems: list[Problem] = []
        for number, line in enumerate(lines, start=1):
            try:
                instances.extend(self._read_line(line))
            except AnnotationError as error:
                problems.append(Problem(str(path), str(error), number))
        return instances, problems

    def _read_line(self, line: str) -> Iterator[Instance]:
        if not line.strip():
            return
        first, *numbers = _parse_numbers(line)
        if first not in self.labels:
            raise AnnotationError(
                f"expected a class number of {show_names(self.labels)}, but got {line.split(maxsplit=1)[0]}"
            )
        yield self._to_instance(self.labels[int(first)], numbers)

    def _to_instance(self, label: Label, numbers: list[float]) -> Instance:
        if self.kpt_shape:
            expected = _BOX_NUMBERS + math.prod(self.kpt_shape)
            if len(numbers) != expected:
                raise AnnotationError(
                    f"expected a class and {expected} numbers, as kpt_shape says, but got {len(numbers)}"
                )
            box = _to_box(numbers)
            return Instance(label, box, box.area, parts=tuple(_to_parts(numbers[_BOX_NUMBERS:], self.kpt_shape[1])))
        if len(numbers) == _BOX_NUMBERS:
            box = _to_box(numbers)
            return Instance(label, box, box.area)
        if len(numbers) < 6 or len(numbers) % 2:
            raise AnnotationError(
                f"expected a class and 4 numbers, or 3 or more points, but got {len(numbers)} numbers"
            )
        xs, ys = numbers[0::2], numbers[1::2]
        return Instance(label, Box(min(xs), max(xs), min(ys), max(ys)), polygon_area(numbers))


def _parse_numbers(line: str) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise AnnotationError(f"expected a class and numbers, but got {line.strip()!r}")
    return numbers


def _to_box(numbers: list[float]) -> Box:
    xc, yc, width, height = numbers[:_BOX_NUMBERS]
    return Box(xc - width / 2, xc + width / 2, yc - height / 2, yc + height / 2)


def _to_parts(numbers: list[float], dimensions: int) -> Iterator[Part]:
    for x, y, *rest in (numbers[i : i + dimensions] for i in range(0, len(numbers), dimensions)):
        v = rest[0] if rest else 2 * (min(x, y) >= 0 and (x, y) != (0, 0))
        if v not in {0, 1, 2}:
            raise AnnotationError(f"expected 0, 1 or 2 as visibility of a keypoint, but got {v:g}")
        yield x, y, int(v)
