"""Class names of YOLO labels: data.yaml, or the lists that LabelImg, Label Studio, CVAT and darknet write.

Source: classes.txt of LabelImg and Label Studio, obj.names and obj.data of darknet
(https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects): one name per line, from 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import find_files
from tfrec_stage.importers.interface import show_names
from tfrec_stage.text_files import find_encoding, read_text

Names = list[str] | dict[int, str]
KeypointShape = tuple[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=2, le=3)]]
CLASSES_NAME: Final = "classes.txt"
YAML: Final = (".yaml", ".yml")
LISTS: Final = (".txt", ".names", ".data")
"""Suffixes of files with one class name per line; a .data file names such a file."""

_HEAD_BYTES: Final = 1 << 16
"""Bytes of a .data file that are searched for its list."""


class DataYaml(msgspec.Struct, frozen=True):
    """The keys of data.yaml that are used; others are ignored."""

    names: Names | None = None
    """Class names, as a list or by number."""
    kpt_shape: KeypointShape | None = None
    """Number of keypoints, and of numbers for each."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The entries of the option `annotations`, sorted by what they are."""

    yamls: list[Path] = field(default_factory=list)
    """YAML files: data.yaml."""
    lists: list[Path] = field(default_factory=list)
    """Files with one class name per line, or .data files."""
    folders: list[Path] = field(default_factory=list)
    """Folders of label files."""

    @classmethod
    def of(cls, annotations: Iterable[Path]) -> "Sources":
        """Sort entries by suffix; a folder may be named like a list."""
        sources = cls()
        for path in annotations:
            if path.suffix in YAML:
                sources.yamls.append(path)
            elif path.suffix in LISTS and not path.is_dir():
                sources.lists.append(path)
            else:
                sources.folders.append(path)
        return sources


def read_data_yaml(paths: list[Path]) -> DataYaml:
    """Return the content of data.yaml; an empty one without a path.

    Raises:
        SourceError: it cannot be read, or there are several paths.
    """
    if not paths:
        return DataYaml()
    if len(paths) > 1:
        raise SourceError(f"expected one data.yaml, but got {', '.join(map(str, paths))}")
    try:
        return msgspec.yaml.decode(paths[0].read_bytes(), type=DataYaml)
    except (OSError, msgspec.MsgspecError) as error:
        reason = " ".join(str(error).split())  # the parser's messages have several lines
        raise SourceError(f"{paths[0]}: expected data.yaml with `names`, but: {reason}") from error


def find_class_names(named: Sequence[Path], labels_folder: Path) -> tuple[list[str], Path] | None:
    """Return the class names and the list that they are from; None if there is no list.

    The lists are those in `named`, else those beside the label files or up to two folders above. If there are several,
    the longest is used, provided that the others are its beginning: LabelImg writes a list into each folder that it
    saves to, and appends to it over time.

    Raises:
        SourceError: a list cannot be read, or two lists disagree on the name of a class.
    """
    found = {path: _read_list(path) for path in (_follow(named) if named else _search(labels_folder))}
    longest = max(found, key=lambda path: len(found[path]), default=None)
    if longest is None or not found[longest]:
        return None
    for path, names in found.items():
        if names != found[longest][: len(names)]:
            raise SourceError(
                f"expected one list of class names, but {longest} has {show_names(found[longest])} and {path} has "
                f"{show_names(names)}; name the right one in `importer.annotations`, or give `importer.options.names`"
            )
    return found[longest], longest


def _search(labels_folder: Path) -> Iterator[Path]:
    """Yield the lists beside the label files and up to two folders above them."""
    for name in find_files(labels_folder, {".txt"}):
        if Path(name).name == CLASSES_NAME:
            yield labels_folder / name
    here = labels_folder.absolute()
    for folder in (here, *here.parents[:2]):
        lists = [folder / CLASSES_NAME, *sorted(folder.glob("*.names")), *sorted(folder.glob("*.data"))]
        yield from (_shorten(path) for path in _follow(path for path in lists if path.is_file()) if path.is_file())


def _follow(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield each list, and for a .data file the list that it names.

    The name is relative to the directory that darknet runs in, which nothing states: the folders of the .data file and
    above are tried.
    """
    for path in paths:
        if path.suffix != ".data":
            yield path
        elif stated := _find_stated(path):
            candidates = [folder / stated for folder in (path.parent, *path.absolute().parents[1:3])]
            # The last resort is the list's name beside the .data file, for folders that were moved.
            yield next((each for each in candidates if each.is_file()), path.parent / stated.name)


def _find_stated(path: Path) -> Path | None:
    """Return the list that a .data file names; None if it names none."""
    if not path.is_file():
        raise SourceError(f"{path}: expected a file with a line `names = FILE`, but there is none")
    with path.open("rb") as file:  # other programs have .data files too, of any size and content
        head = file.read(_HEAD_BYTES)
    lines = head.decode(find_encoding(head), errors="replace").splitlines()
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "names" and value.strip():
            return Path(value.strip().replace("\\", "/"))  # darknet on Windows
    return None


def _read_list(path: Path) -> list[str]:
    lines = [line.strip() for line in _read_lines(path)]
    # Empty lines at the end are harmless. One in between would shift the numbers of all classes after it.
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise SourceError(f"{path}:{lines.index('') + 1}: expected a class name in each line, but got an empty line")
    return lines


def _read_lines(path: Path) -> list[str]:
    try:
        return read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected class names, one per line, but: {error}") from error


def _shorten(path: Path) -> Path:
    """Return the path relative to the working directory if it is below it, for messages."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
