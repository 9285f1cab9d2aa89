"""`create`: build shards from Python."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from enum import Enum, EnumType
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.failures import FailureLimit
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.dataset_info import About, Label
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.options import show
from tfrec_stage.paths import parse_path
from tfrec_stage.progress import ProgressListener, silence
from tfrec_stage.text_files import is_utf8


def create(  # noqa: PLR0917 - the argument order of the first writer of this format
    dataset: Iterable[Mapping[str, Any]],
    dataset_name: str,
    output_directory: str | Path,
    num_shards: int,
    num_threads: int,
    shuffle: bool = True,
    store_images: bool = True,
    *,
    images_root: str | Path = "",
    store_dir: str | Path | None = None,
    engine: str = "threads",
    labels: Sequence[str] = (),
    about: Mapping[str, str] | None = None,
    max_failures: int | str | None = None,
    progress: ProgressListener = silence,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write image records as sharded TFRecord files, and return the records that failed.

    Args:
        dataset: image records as nested dicts; they are not changed. Only `filename` and `id` are required.
        dataset_name: shards are called `<dataset_name>-00000-of-00010`.
        output_directory: directory of the shards, created if missing; an earlier build in it is replaced as a whole.
        num_shards: number of shards, at least 1.
        num_threads: images encoded at the same time, 1 to 1024. Never changes a byte.
        shuffle: False keeps the order of `dataset`.
        store_images: False leaves `image/encoded` empty; readers then load `image/filename`.
        images_root: directory that relative file names start from; the working directory by default.
        store_dir: directory of the shard cache, so that the next build makes only what changed; None for no cache.
        engine: `threads`, or `processes` for machines with many cores: then call this below `if __name__ ==
            "__main__":`, since each worker process imports your program. Never changes a byte.
        labels: names of the classes in the order of their numbers, for the files of `profiles`; missing names are
            collected from the records.
        about: description of the dataset for the same files: `name`, `description`, `license` and so on, see `About`.
        max_failures: how many images may fail before the build is rejected, as a number or a percentage such as
            `"0.5%"`. None allows any number, but never replaces a build that has records by an empty one.
        progress: called with the progress a few times a second.
        **options: the other output options, for example `seed=1`, `verify="structure"`, `out_of_range="clip"`.

    Returns:
        A copy of each failed record, with `error_msg` and `reason`. A record with a value of a wrong type is one of
        them; `None` for `class`, `object` or a value in them stands for a missing value.

    Raises:
        ConfigError: an option is unknown or out of its range, or `labels` are not distinct names.
        ManifestError: a record has unknown keys or no id, two records have the same id, there are no records, or
            `dataset` changed during the build.
        OutputError: the output directory cannot be written, or holds other files.
        TooManyFailuresError: more images failed than `max_failures` allows, or all images failed and an earlier build
            has records. The output directory is unchanged; the error says where the failures are.
    """
    if not callable(progress):
        raise ConfigError(f"progress: expected a function that takes a Progress, but got {show(progress)}")
    request = BuildRequest(
        name=dataset_name,
        output_directory=parse_path("output_directory", output_directory),
        num_shards=num_shards,
        output_options=_parse_output_options(shuffle=shuffle, store_images=store_images, **options),
        images_root=Path() if images_root == "" else parse_path("images_root", images_root),
        store_directory=None if store_dir is None else parse_path("store_dir", store_dir),
        labels=_labels_of(labels),
        about=_parse_about(about or {}),
        engine=EngineOptions(num_threads, _parse_choices(engine, EngineName)),
        failure_limit=None if max_failures is None else FailureLimit(str(max_failures)),
    )
    failures: list[dict[str, Any]] = []
    build(RecordList(dataset), request, progress, failures.append)
    return failures


def _labels_of(names: Sequence[str]) -> tuple[Label, ...]:
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    is_list = is_list and all(isinstance(name, str) and name and is_utf8(name) for name in names)
    if not is_list or len(set(names)) < len(names):
        raise ConfigError(f"labels: expected a list of names, each once, but got {show(names)}")
    return tuple(Label(number, name) for number, name in enumerate(names))


def _parse_about(texts: Mapping[str, str]) -> About:
    known = [option.name for option in fields(About)]
    if not isinstance(texts, Mapping):
        raise ConfigError(f"about: expected a mapping of some of {', '.join(known)}, but got {show(texts)}")
    if unknown := [name for name in texts if name not in known]:
        raise ConfigError(f"about: expected some of {', '.join(known)}, but got {unknown[0]!r}")
    return About(**texts)


def _parse_output_options(**options: Any) -> OutputOptions:
    kinds = {group.name: cast("type[Any]", group.type) for group in fields(OutputOptions)}
    groups = {name: [option.name for option in fields(kind)] for name, kind in kinds.items()}
    known = [name for names in groups.values() for name in names]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown option {name!r}: {hint}")
    return OutputOptions(**{group: _parse_group(kind, groups[group], options) for group, kind in kinds.items()})


def _parse_group(kind: type[Any], names: Iterable[str], options: Mapping[str, Any]) -> Any:
    """Create one group of options; its class checks the values."""
    types = get_type_hints(kind)
    return kind(**{name: _parse_choices(options[name], types[name]) for name in names if name in options})


def _parse_choices(value: Any, kind: Any) -> Any:
    """Replace names by members of an enum, also in lists; other values are kept, for the options to refuse."""
    if get_origin(kind) is list and isinstance(value, (list, tuple)):
        return [_parse_choices(item, get_args(kind)[0]) for item in value]
    if isinstance(kind, EnumType) and isinstance(value, str):
        return cast("Mapping[str, Enum]", kind.__members__).get(value, value)
    return value
