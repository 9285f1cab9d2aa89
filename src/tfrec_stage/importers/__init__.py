"""Import annotations of common formats as image records.

    coco           COCO instances, person_keypoints and image classes; COCO-Text
    csv            tables with one box per row, such as those of OpenImages
    datumaro       any format that the library Datumaro reads
    image_folder   one folder of images per class
    voc            Pascal VOC: one XML file per image
    yolo           YOLO: one text file per image

Each importer is one module with a function `read`, which returns the labels and a stream of records. Images are never
kept in memory. `find_importer` adds the steps that all formats share:

    annotations ──read──▶ records ──keep──▶ records of one split ──pin──▶ records with sha256, width and height

To add a format: write a module with a function `read` that follows the Protocol `Importer`, with the options of the
format as keyword-only arguments; add it to `IMPORTERS`; add conf/importer/NAME.yaml. `interface` has what `read`
returns, `image_files` finds images and resolves file names, and `objects` builds the lists of a record.
"""

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from tfrec_stage.errors import ConfigError
from tfrec_stage.importers.interface import ImportedDataset, Importer, ImportNotes, Problem, list_odd_names
from tfrec_stage.importers.pin_images import pin
from tfrec_stage.importers.split_images import SplitOptions
from tfrec_stage.records import ImageRecord

__all__ = [
    "IMPORTERS",
    "ImportNotes",
    "ImportedDataset",
    "Importer",
    "Problem",
    "SplitOptions",
    "find_importer",
    "known_options",
]

IMPORTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "coco": "tfrec_stage.importers.coco",
        "csv": "tfrec_stage.importers.csv_boxes",
        "datumaro": "tfrec_stage.importers.datumaro",
        "image_folder": "tfrec_stage.importers.image_folder",
        "voc": "tfrec_stage.importers.voc",
        "yolo": "tfrec_stage.importers.yolo",
    }
)
"""The module of each importer, by name; a module is imported only when its importer is used."""


def find_importer(
    name: str, options: Mapping[str, Any] | None = None, *, keep: Callable[[ImageRecord], bool] | None = None
) -> Importer:
    """Return the importer with that name; its options are set, and the records it yields are pinned.

    Args:
        name: a key of `IMPORTERS`.
        options: keyword-only arguments of the importer's `read`, with the types that YAML has.
        keep: decides which records to keep, before their images are read; problems are always kept. For example
            `functools.partial(SplitOptions({"train": 0.9, "val": 0.1}).belongs_to, "train")`.

    Raises:
        ConfigError: the importer or an option is unknown, or an option has the wrong type.
    """
    if name not in IMPORTERS:
        raise ConfigError(f"importer: expected one of {', '.join(sorted(IMPORTERS))}, but got {name!r}")
    read = _find_read(name)
    checked = _check_options(name, read, dict(options or {}))
    return partial(_import, partial(read, **checked), keep)


def known_options(name: str) -> list[str]:
    """Return the names of an importer's options, in the order in which its `read` declares them."""
    parameters = inspect.signature(_find_read(name)).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _find_read(name: str) -> Callable[..., ImportedDataset]:
    read: Callable[..., ImportedDataset] = importlib.import_module(IMPORTERS[name]).read
    return read


def _import(
    read: Importer,
    keep: Callable[[ImageRecord], bool] | None,
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
) -> ImportedDataset:
    dataset = read(annotations, images, images_root)
    dataset.notes.warnings.extend(list_odd_names(dataset.labels))
    # Filtered first: images of other splits are not even opened.
    kept = (each for each in dataset.records if isinstance(each, Problem) or keep is None or keep(each))
    pinned = (each if isinstance(each, Problem) else pin(each, images_root) for each in kept)
    return ImportedDataset(dataset.labels, pinned, dataset.notes)


def _check_options(name: str, read: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    known, types = known_options(name), typing.get_type_hints(read)
    return {option: _convert(name, option, value, known, types) for option, value in options.items()}


def _convert(name: str, option: str, value: Any, known: list[str], types: Mapping[str, Any]) -> Any:
    if option not in known:
        near = difflib.get_close_matches(option, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known options: {', '.join(known) or 'none'}"
        raise ConfigError(f"importer {name}: unknown option {option!r}{hint}")
    try:
        return msgspec.convert(value, types[option])
    except msgspec.ValidationError as error:
        raise ConfigError(f"importer {name}: option {option}: {error}") from None
