"""Image folders, one per class → image records."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NoReturn

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import ImageFolder, find_files
from tfrec_stage.importers.interface import AnnotationError, ImportedDataset, Problem, number_labels, show_names
from tfrec_stage.records import ImageClass, ImageRecord
from tfrec_stage.text_files import is_utf8


def read(
    annotations: tuple[Path, ...], images: Path, images_root: Path, *, names: list[str] | None = None
) -> ImportedDataset:
    """Read one folder per class; a nested folder's class is its path, such as "birds/finch".

    The path of an image below its top folder is the record's id.

    Args:
        annotations: the folders that the class folders are in, inside `images`; by default `images` itself.
        images: folder of the images.
        images_root: folder that records' `filename` starts from.
        names: all class names in the order of their numbers; by default those found, in alphabetical order.

    Raises:
        SourceError: a folder cannot be read, there is no image, or no image is in a class folder.
        ConfigError: `names` has one name twice.
    """
    folder = ImageFolder(images, images_root)
    found = [(top, name) for top in annotations or (images,) for name in find_files(top)]
    # A name that is not UTF-8 cannot be written into labels.json; its images become problems.
    classes = {_class_of(name) for _, name in found if is_utf8(name)} - {""}
    if not found:
        _refuse_empty(annotations or (images,))
    if not classes:
        _refuse_flat(found)
    labels = number_labels(classes, names)
    return ImportedDataset(tuple(labels.values()), _to_records(found, folder, labels), folder.notes)


def _class_of(name: str) -> str:
    """Return the class of an image; empty if it lies directly in a top folder."""
    parent = PurePosixPath(name).parent.as_posix()
    return "" if parent == "." else parent


def _refuse_empty(tops: Sequence[Path]) -> NoReturn:
    shown = ", ".join(map(str, tops))
    raise SourceError(
        f"{shown}: expected a folder for each class in it, such as {tops[0] / 'cat'}, with images, but got no image"
    )


def _refuse_flat(found: list[tuple[Path, str]]) -> NoReturn:
    top, name = found[0]
    raise SourceError(
        f"{top}: expected a folder for each class in it, such as {top / 'cat' / name}, but all {len(found):,} images "
        "lie directly in it; move each into a folder named after its class, or name the folder above in "
        f"`importer.images` if {top.name!r} is a class itself"
    )


def _to_records(
    found: list[tuple[Path, str]], folder: ImageFolder, labels: Mapping[str, Label]
) -> Iterator[ImageRecord | Problem]:
    for top, name in found:
        try:
            yield _to_record(top, name, folder, labels)
        except AnnotationError as error:
            yield error.to_problem(top / name)


def _to_record(top: Path, name: str, folder: ImageFolder, labels: Mapping[str, Label]) -> ImageRecord:
    label = labels.get(_class_of(name))
    if not _class_of(name):
        raise AnnotationError(
            f"expected an image in the folder of its class, which is one of {show_names(labels)}, but it lies directly "
            f"in {top}; move it into one of them"
        )
    if label is None:
        raise AnnotationError(f"expected a folder named after one of {show_names(labels)}, but got {_class_of(name)!r}")
    return ImageRecord(
        # Absolute, because `name` starts from `top`, which may be below `images`.
        filename=folder.filename(str(top.absolute() / name)),
        id=name,
        class_=ImageClass(label=label.label, text=label.text),
    )
