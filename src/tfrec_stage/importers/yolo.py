"""YOLO: one text file per image, one line per object → image records.

Source: the dataset formats of Ultralytics for detect, segment, pose and oriented boxes,
https://docs.ultralytics.com/datasets/, and what `yolo predict save_txt=True save_conf=True` writes.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import ImageFolder, find_files, strip_suffix
from tfrec_stage.importers.interface import AnnotationError, ImportedDataset, Problem, show_names
from tfrec_stage.importers.objects import Box, Instance, Part, to_objects
from tfrec_stage.importers.shapes import polygon_area
from tfrec_stage.importers.yolo_names import (
    CLASSES_NAME,
    KeypointShape,
    Names,
    Sources,
    find_class_names,
    read_data_yaml,
)
from tfrec_stage.records import ImageRecord, Objects
from tfrec_stage.text_files import read_text

_BOX_NUMBERS: Final = 4
_LIMIT: Final = 1e9
"""Numbers are fractions of the image's width or height; areas of much larger ones would overflow to infinity."""
_MIXED: Final = "expected a confidence in all lines or in none, but this one differs from those before it"


def read(
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
    *,
    names: Names | None = None,
    kpt_shape: KeypointShape | None = None,
) -> ImportedDataset:
    """Read label files and data.yaml.

    A line has one of these forms, with all coordinates normalised:

    - `class xc yc w h`: a box;
    - `class x0 y0 x1 y1 x2 y2 …`: a polygon or an oriented box; the box around it and its area are kept;
    - `class xc yc w h`, then x, y or x, y, v of each keypoint, if `kpt_shape` is set.

    A box may end with a confidence, which becomes its score; then every line of the file must have one. A keypoint
    without v is visible unless it is at (0, 0) or negative. An image whose label file is empty or missing has no
    objects. The path of an image below `images` is the record's id. Labels are in the order of YOLO's class numbers.

    Args:
        annotations: data.yaml, the folder of the label files, a list of class names (classes.txt, obj.names or
            obj.data), or several of these. Without a folder, label files are in `images` with its last "images"
            replaced by "labels".
        images: folder of the images.
        images_root: folder that records' `filename` starts from.
        names: class names, as a list or by number; by default those in data.yaml, else those in a list of
            `annotations`, else those in a list beside the label files or up to two folders above.
        kpt_shape: number of keypoints, and of numbers for each (2 or 3); by default that in data.yaml.

    Raises:
        SourceError: a folder or data.yaml cannot be read, the class names are nowhere, or two lists of them disagree.
    """
    folder = ImageFolder(images, images_root)
    sources, notes = Sources.of(annotations), folder.notes
    absent = [path for path in sources.yamls if not path.exists()]
    # A missing data.yaml is only a warning: conf/importer/yolo.yaml names one by default, and a list may replace it.
    stated = read_data_yaml([] if len(absent) == len(sources.yamls) else sources.yamls)
    labels_folder = _find_labels_folder(sources.folders, images)
    class_names = stated.names if names is None else names
    if class_names is None and (found := find_class_names(sources.lists, labels_folder)):
        class_names, path = found
        notes.counts[f"classes, as {path} names them"] = len(class_names)
    if class_names is None:
        _refuse_without_names(absent)
    notes.warnings += [f"there is no {path}; class names are taken from elsewhere" for path in absent]
    reader = _LineReader(_number_labels(class_names), kpt_shape or stated.kpt_shape)
    records = _to_records(folder, labels_folder, reader, {*sources.lists})
    return ImportedDataset(tuple(reader.labels.values()), records, notes)


def _refuse_without_names(absent: list[Path]) -> NoReturn:
    places = f"in the option `names`, or in {CLASSES_NAME} or *.names beside the label files or up to two folders above"
    if absent:
        raise SourceError(
            f"{absent[0]}: expected data.yaml with `names`, but it does not exist, and the names are not {places}"
        )
    raise SourceError(f"expected class names in data.yaml, {places}, but got none")


def _number_labels(names: Names) -> dict[int, Label]:
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    ordered = enumerate(sorted(by_number))  # YOLO's numbers may have gaps, those of labels have none
    return {number: Label(label, by_number[number], source_id=number) for label, number in ordered}


def _find_labels_folder(folders: list[Path], images: Path) -> Path:
    if len(folders) > 1:
        raise SourceError(f"expected one folder of label files, but got {', '.join(map(str, folders))}")
    folder = folders[0] if folders else _replace_last(images, "images", "labels")
    if not folder.is_dir():
        raise SourceError(f"expected a folder of label files, but there is no {folder}; name it in `annotations`")
    return folder


def _replace_last(path: Path, old: str, new: str) -> Path:
    """Return the path with the last folder named `old` renamed, as Ultralytics finds labels of images."""
    # A relative path may be inside a folder named `old`, which only its absolute form shows.
    parts = path.parts if old in path.parts else path.absolute().parts
    if old not in parts:
        raise SourceError(f"expected {old!r} in the path of the images, or a folder in `annotations`, but got {path}")
    place = len(parts) - 1 - parts[::-1].index(old)
    return Path(*parts[:place], new, *parts[place + 1 :])


def _to_records(
    folder: ImageFolder, labels_folder: Path, reader: "_LineReader", lists: Collection[Path]
) -> Iterator[ImageRecord | Problem]:
    label_files = {strip_suffix(name): labels_folder / name for name in find_files(labels_folder, {".txt"})}
    # Lists of class names may lie among the label files and have the same suffix.
    without_image = {key for key, path in label_files.items() if path.name != CLASSES_NAME and path not in lists}
    for name in find_files(folder.path):
        without_image -= {strip_suffix(name)}
        objects, problems = reader.read_file(label_files.get(strip_suffix(name)))
        if problems:  # instead of the record, even if other lines are valid
            yield from problems
        else:
            yield ImageRecord(filename=folder.filename_of_existing(name), id=name, object=objects)
    for key in sorted(without_image):
        yield Problem(str(label_files[key]), f"expected an image {key}.* in {folder.path}, but got none")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a label file: one object."""

    number: int
    """Number of the line, from 1."""
    instance: Instance
    score: float | None
    """Confidence of the box, in [0, 1]; None if the line has none."""


@dataclass(frozen=True, slots=True)
class _LineReader:
    """Reads the lines of label files."""

    labels: Mapping[int, Label]
    """By YOLO's class number, in the order of these numbers."""
    kpt_shape: tuple[int, int] | None
    """Number of keypoints, and of numbers for each; None: lines have no keypoints."""

    @property
    def num_parts(self) -> int:
        """Number of parts of every object."""
        return self.kpt_shape[0] if self.kpt_shape else 0

    def read_file(self, path: Path | None) -> tuple[Objects, list[Problem]]:
        """Return the objects of one image and the problems with its lines; without a file there are no objects."""
        if path is None:
            return Objects(), []
        try:
            texts = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            return Objects(), [Problem(str(path), f"expected lines of text, but: {error}")]
        lines: list[_Line] = []
        problems: list[Problem] = []
        for number, text in enumerate(texts, start=1):
            try:
                lines.extend(self._read_line(number, text))
            except AnnotationError as error:
                problems.append(Problem(str(path), str(error), number))
        problems += (Problem(str(path), _MIXED, number) for number in _differing(lines))
        return _to_scored_objects(lines, self.num_parts), problems

    def _read_line(self, number: int, text: str) -> Iterator[_Line]:
        if not text.strip():
            return
        first, *numbers = _parse_numbers(text)
        if first not in self.labels:
            raise AnnotationError(
                f"expected a class number of {show_names(self.labels)}, but got {text.split(maxsplit=1)[0]}"
            )
        score = _read_score(numbers.pop()) if len(numbers) == self._num_box_numbers + 1 else None
        yield _Line(number, self._to_instance(self.labels[int(first)], numbers), score)

    @property
    def _num_box_numbers(self) -> int:
        """How many numbers a box with its keypoints has.

        One more is a confidence. Without keypoints that makes five, an odd number, which no polygon has.
        """
        return _BOX_NUMBERS + (math.prod(self.kpt_shape) if self.kpt_shape else 0)

    def _to_instance(self, label: Label, numbers: list[float]) -> Instance:
        if self.kpt_shape:
            expected = self._num_box_numbers
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
                "expected a class and 4 numbers, 5 with a confidence, or 3 or more points, "
                f"but got {len(numbers)} numbers; keypoints need `importer.options.kpt_shape`"
            )
        xs, ys = numbers[0::2], numbers[1::2]
        return Instance(label, Box(min(xs), max(xs), min(ys), max(ys)), polygon_area(numbers))


def _differing(lines: list[_Line]) -> Iterator[int]:
    """Yield the number of the first line that has a confidence unlike the lines before it, or lacks one unlike them."""
    return islice((line.number for line in lines if (line.score is None) != (lines[0].score is None)), 1)


def _to_scored_objects(lines: list[_Line], num_parts: int) -> Objects:
    """Return the objects of all lines, with the confidences as scores of the boxes if there are any."""
    objects = to_objects([line.instance for line in lines], num_parts)
    scores = [line.score for line in lines if line.score is not None]
    if not scores:
        return objects
    return msgspec.structs.replace(objects, bbox=msgspec.structs.replace(objects.bbox, score=scores))


def _read_score(number: float) -> float:
    if not 0 <= number <= 1:
        raise AnnotationError(f"expected a confidence in [0, 1] behind the numbers of the box, but got {number:g}")
    return number


def _parse_numbers(line: str) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = [math.nan]
    # False for NaN as well, which `float` accepts.
    if not all(abs(number) < _LIMIT for number in numbers):
        raise AnnotationError(f"expected a class and numbers, but got {line.strip()!r}")
    return numbers


def _to_box(numbers: list[float]) -> Box:
    xc, yc, width, height = numbers[:_BOX_NUMBERS]
    return Box(xc - width / 2, xc + width / 2, yc - height / 2, yc + height / 2)


def _to_parts(numbers: list[float], dimensions: int) -> Iterator[Part]:
    for x, y, *rest in (numbers[i : i + dimensions] for i in range(0, len(numbers), dimensions)):
        # Without a visibility, 2 (visible) or 0 (not in the image).
        v = rest[0] if rest else 2 * (min(x, y) >= 0 and (x, y) != (0, 0))
        if v not in {0, 1, 2}:
            raise AnnotationError(f"expected 0, 1 or 2 as visibility of a keypoint, but got {v:g}")
        yield x, y, int(v)
