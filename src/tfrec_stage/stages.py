"""Configuration → one call → what is said about it. One function a stage."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from tfrec_stage.build import BuildReport, BuildRequest, build
from tfrec_stage.config import ImporterConfig, StageConfig
from tfrec_stage.errors import ManifestError
from tfrec_stage.importers import SplitOptions, find_importer
from tfrec_stage.importing import import_dataset
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import ProgressListener, silence
from tfrec_stage.progress.lines import ProgressLines
from tfrec_stage.records import ImageRecord

EXIT_DONE: Final = 0
EXIT_FAILURES: Final = 3
EXAMPLES: Final = 3
"""How many failures of each reason are shown."""


def run_manifest(config: StageConfig) -> int:
    """Annotations → manifest and labels."""
    importer, manifest = config.importer, Path(config.manifest)
    read = find_importer(importer.name, importer.options, keep=_keep(importer, config.split))
    dataset = read(tuple(map(Path, importer.annotations)), Path(importer.images), Path(config.images_root))
    report = import_dataset(dataset, manifest)
    _say(f"{config.split}: {report.records:,} image records with {len(report.labels):,} labels in {manifest}")
    return _judge(config, report.records, [("problem", str(problem)) for problem in report.problems], "problems")


def run_shards(config: StageConfig) -> int:
    """Manifest → shards."""
    begin_s = monotonic()
    request = BuildRequest(
        name=config.split,
        output_directory=Path(config.output_dir),
        num_shards=config.num_shards,
        identity=config.identity,
        images_root=Path(config.images_root),
        engine=config.engine_options,
    )
    config.allowed_failures(0)  # a bad value is told before the work, not after
    with _listener(config.progress) as listener:
        report = build(_open(Path(config.manifest)), request, listener)
    _say(_summary(config, report, monotonic() - begin_s))
    return _judge(config, report.statistics.images + len(report.failures), _reasons(report), "images")


def _open(manifest: Path) -> RecordSource:
    if not manifest.exists():
        raise ManifestError(
            f"manifest: there is no {manifest}; make it with stage=manifest, or name another with manifest=PATH"
        )
    return open_manifest(manifest)


def _keep(importer: ImporterConfig, split: str) -> Callable[[ImageRecord], bool] | None:
    if not importer.fractions:
        return None
    return partial(SplitOptions(importer.fractions, importer.group_by, importer.split_seed).belongs_to, split)


def _summary(config: StageConfig, report: BuildReport, elapsed_s: float) -> str:
    images = report.statistics.images
    size_mb = sum(shard.size_bytes for shard in report.shards) / 1e6
    return (
        f"{config.split}: {images:,} images in {len(report.shards):,} shards, {size_mb:,.1f} MB: {config.output_dir} "
        f"({elapsed_s:.1f} s, {images / max(elapsed_s, 1e-9):,.0f} images/s)"
    )


def _reasons(report: BuildReport) -> list[tuple[str, str]]:
    return [(failure["reason"], f"{failure['id']}: {failure['error_msg']}") for failure in report.failures]


def _judge(config: StageConfig, total: int, failures: Sequence[tuple[str, str]], what: str) -> int:
    """Say what failed, by reason; the exit code."""
    if not failures:
        return EXIT_DONE
    allowed = config.allowed_failures(total)
    verdict = (
        "as max_failures allows" if len(failures) <= allowed else f"more than max_failures={config.max_failures} allows"
    )
    _complain(f"{config.split}: {len(failures):,} of {total:,} {what} failed, {verdict}")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for reason, message in failures:
        by_reason[reason].append(message)
    for reason, messages in sorted(by_reason.items()):
        _complain(f"  {reason}: {len(messages):,}")
        for message in messages[:EXAMPLES]:
            _complain(f"    {message}")
    return EXIT_DONE if len(failures) <= allowed else EXIT_FAILURES


@contextmanager
def _listener(wanted: bool) -> Iterator[ProgressListener]:
    if not wanted:
        yield silence
    elif sys.stderr.isatty():
        from tfrec_stage.progress.bar import ProgressBar  # noqa: PLC0415 - rich takes 0.1 s to import

        with ProgressBar() as bar:
            yield bar
    else:
        yield ProgressLines()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")
