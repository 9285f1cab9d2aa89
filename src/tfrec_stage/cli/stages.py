"""One function per stage: configuration → one call → what is printed."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from tfrec_stage.build.build import BuildReport, BuildRequest, build
from tfrec_stage.cache.clean import clean_cache
from tfrec_stage.cli.config import ImporterConfig, StageConfig
from tfrec_stage.cli.exit_codes import ExitCode
from tfrec_stage.dataset_info import Label, read_labels
from tfrec_stage.errors import ConfigError, ManifestError, TooManyFailuresError
from tfrec_stage.importers import SplitOptions, find_importer
from tfrec_stage.importers.import_stage import LABELS_NAME, import_dataset
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.paths import is_or_holds, refuse_inside, refuse_same, refuse_unwritable_file
from tfrec_stage.progress import ProgressLines, ProgressListener, silence
from tfrec_stage.records import ImageRecord
from tfrec_stage.shards.metadata_files import FAILURES_NAME
from tfrec_stage.verify.leakage import check_splits

MAX_PROBLEMS: Final = 20
"""How many problems of an import are printed, and how many warnings."""
MAX_FINDINGS: Final = 20
"""How many findings of verify are printed, and how many warnings."""
MAX_OVERLAPS: Final = 1000
"""How many ids and images that two splits share are listed in `verify.json`."""


def run_manifest(config: StageConfig) -> int:
    """Run `stage=manifest`: annotations → manifest and labels."""
    importer, manifest = config.importer, Path(config.manifest)
    config.allowed_failures(0)  # reports a bad value before the work, not after
    refuse_unwritable_file("manifest", manifest)
    refuse_unwritable_file("manifest", manifest.with_name(LABELS_NAME))
    for path in (manifest, manifest.with_name(LABELS_NAME)):
        refuse_same("manifest", path, {f"read as {name}": Path(name) for name in importer.annotations})
    read = find_importer(importer.name, importer.options, keep=_belongs_to_split(importer, config.split))
    dataset = read(tuple(map(Path, importer.annotations)), Path(importer.images), Path(config.images_root))
    report = import_dataset(dataset, manifest)
    _print(f"{config.split}: {report.records:,} image records with {len(report.labels):,} labels in {manifest}")
    for what, count in sorted(report.notes.counts.items()):
        _print(f"  {count:,} {what}")
    _show_first([f"warning: {warning}" for warning in report.notes.warnings[:MAX_PROBLEMS]], len(report.notes.warnings))
    records, problems = report.records, report.problems
    code = _check_limit(config, len(problems), records + len(problems), f"problems beside {records:,} image records")
    _show_first(problems[:MAX_PROBLEMS], len(problems))
    return code


def run_shards(config: StageConfig) -> int:
    """Run `stage=shards`: manifest → shards."""
    start_s = monotonic()
    request = BuildRequest(
        name=config.split,
        output_directory=Path(config.output_dir),
        num_shards=config.num_shards,
        output_options=config.output_options,
        images_root=Path(config.images_root),
        store_directory=None if config.store_dir is None else Path(config.store_dir),
        labels=_labels(Path(config.labels)),
        about=config.about,
        engine=config.engine_options,
        failure_limit=config.failure_limit,
    )
    manifest = Path(config.manifest)
    for path in (request.output_directory / FAILURES_NAME, request.rejected_failures_path):
        refuse_same("manifest", manifest, {"the list of failures that this build replaces": path})
    try:
        with _listener(config.progress) as listener:
            report = build(_open(manifest), request, listener)
    except TooManyFailuresError as error:
        _warn(str(error))
        _show_failures(error.by_reason, error.examples)
        return ExitCode.FAILURES
    _print(_summary(config, report, monotonic() - start_s))
    if duplicates := report.statistics.duplicate_boxes:
        _warn(
            f"  warning: {duplicates:,} boxes repeat a box of their image (same label and edges) and are stored; "
            "annotations.duplicate_boxes=drop leaves them out"
        )
    failed, total = len(report.failures), report.statistics.images + len(report.failures)
    _check_limit(config, failed, total, f"of {total:,} images failed")
    _show_failures(report.failures.by_reason, report.failures.examples)
    return ExitCode.DONE


def run_verify(config: StageConfig, manifests: Mapping[str, Path]) -> int:
    """Run `stage=verify`: shards and the manifests of all splits → findings."""
    from tfrec_stage.verify.report import write_json  # noqa: PLC0415 - NumPy takes 0.1 s to import
    from tfrec_stage.verify.verify import VerifyRequest, verify_shards  # noqa: PLC0415 - as above

    verify_file = _output_file(config, "verify_file", config.verify_file)
    manifest = Path(config.manifest)
    request = VerifyRequest(
        name=config.split,
        shards=config.output_dir,
        manifest=open_manifest(manifest) if manifest.exists() else None,
        labels=_labels(Path(config.labels)),
        num_threads=config.engine_options.num_threads,
    )
    shared = _compare_splits(manifests)
    with _listener(config.progress) as listener:
        report = verify_shards(request, listener)
    report.warnings += shared
    if not manifests:
        report.skipped["splits"] = "manifest is one file for all splits"
    write_json(verify_file, report.as_dict())
    for line in report.summary():
        _print(line)
    _print(f"  report: {config.verify_file}")
    _show_first(report.findings.kept[:MAX_FINDINGS], report.findings.total)
    _show_first([f"warning: {warning}" for warning in report.warnings[:MAX_FINDINGS]], len(report.warnings))
    return ExitCode.DONE if report.is_sound else ExitCode.FINDINGS


def run_stats(config: StageConfig) -> int:
    """Run `stage=stats`: shards → statistics."""
    from tfrec_stage.stats.count import count_shards, print_statistics  # noqa: PLC0415 - rich takes 0.1 s to import
    from tfrec_stage.verify.report import write_json  # noqa: PLC0415 - as above

    stats_file = _output_file(config, "stats_file", config.stats_file)
    statistics = count_shards(config.output_dir, _labels(Path(config.labels)))
    write_json(stats_file, statistics)
    print_statistics(config.split, statistics, sys.stdout)
    _print(f"stored in {config.stats_file}")
    return ExitCode.DONE


def run_clean(config: StageConfig) -> int:
    """Run `stage=clean`: remove from the shard cache what belongs to output directories that no longer exist."""
    if config.store_dir is None:
        raise ConfigError("store_dir: expected the directory of the shard cache to clean, but got null")
    cleaning = clean_cache(Path(config.store_dir), dry_run=config.clean.dry_run)
    for line in cleaning.summary():
        _print(line)
    return ExitCode.DONE


def _output_file(config: StageConfig, option: str, value: str) -> Path:
    """Return the path of a file that a stage writes; refuse a bad one before the work, not after."""
    path = Path(value)
    # A build refuses an output directory that is or contains the working directory. Shards there are never replaced,
    # so files may be written beside them.
    if not is_or_holds(Path(config.output_dir), Path()):
        refuse_inside(option, path, {"output_dir, which a build replaces as a whole": Path(config.output_dir)})
    refuse_same(option, path, {"the manifest": Path(config.manifest), "the file of labels": Path(config.labels)})
    refuse_unwritable_file(option, path)
    return path


def _compare_splits(manifests: Mapping[str, Path]) -> list[str]:
    """Return warnings about what splits share, and about splits that cannot be compared."""
    found = {split: open_manifest(path) for split, path in manifests.items() if path.exists()}
    check = check_splits(found, MAX_OVERLAPS)
    warnings = [f"{split} has no manifest, so it is not compared" for split in manifests if split not in found]
    if check.unpinned:
        warnings.append(f"{check.unpinned:,} of {check.records:,} records have no sha256: compared by their ids alone")
    if check.count:
        warnings.append(f"{check.count:,} ids or images are in two splits")
    warnings += map(str, check.overlaps)
    return warnings


def _open(manifest: Path) -> RecordSource:
    if not manifest.exists():
        raise ManifestError(
            f"manifest: there is no {manifest}; make it with stage=manifest, or name another with manifest=PATH"
        )
    return open_manifest(manifest)


def _labels(path: Path) -> tuple[Label, ...]:
    """Read labels.json, which is optional: without it, class names come from the records."""
    return read_labels(path) if path.exists() else ()


def _belongs_to_split(importer: ImporterConfig, split: str) -> Callable[[ImageRecord], bool] | None:
    """Return a filter for the records of a split; None if the annotations are not divided."""
    if not importer.fractions:
        return None
    return partial(SplitOptions(importer.fractions, importer.group_by, importer.split_seed).belongs_to, split)


def _summary(config: StageConfig, report: BuildReport, elapsed_s: float) -> str:
    shards = len(report.shards)
    size_mb = sum(shard.size_bytes for shard in report.shards) / 1e6
    return (
        f"{config.split}: {report.statistics.images:,} images in {shards:,} shards ({len(report.built):,} built, "
        f"{shards - len(report.built):,} unchanged), {size_mb:,.1f} MB, {elapsed_s:.1f} s: {config.output_dir}"
    )


def _show_failures(by_reason: Mapping[str, int], examples: Mapping[str, Sequence[str]]) -> None:
    for reason, count in sorted(by_reason.items()):
        _warn(f"  {reason}: {count:,}")
        for example in examples[reason]:
            _warn(f"    {example}")


def _check_limit(config: StageConfig, failed: int, total: int, what: str) -> ExitCode:
    """Print how many failed and whether that is allowed; return the exit code."""
    if not failed:
        return ExitCode.DONE
    is_allowed = failed <= config.allowed_failures(total)
    verdict = "as max_failures allows" if is_allowed else f"more than max_failures={config.max_failures} allows"
    _warn(f"{config.split}: {failed:,} {what}, {verdict}")
    return ExitCode.DONE if is_allowed else ExitCode.FAILURES


def _show_first(shown: Sequence[object], count: int) -> None:
    """Print the first of `count` findings, and how many more there are."""
    for finding in shown:
        _warn(f"  {finding}")
    if count > len(shown):
        _warn(f"  … and {count - len(shown):,} more")


@contextmanager
def _listener(wanted: bool) -> Iterator[ProgressListener]:
    if not wanted:
        yield silence
    elif sys.stderr.isatty():
        from tfrec_stage.cli.progress_bar import ProgressBar  # noqa: PLC0415 - rich takes 0.1 s to import

        with ProgressBar() as bar:
            yield bar
    else:
        yield ProgressLines()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _warn(line: str) -> None:
    sys.stderr.write(f"{line}\n")
