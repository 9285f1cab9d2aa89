"""The command line: Hydra in, one call, exit code out."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tfrec_stage.cli.config import (
    StageConfig,
    StageName,
    conf_directory,
    manifests_by_split,
    parse_config,
    register_schema,
)
from tfrec_stage.cli.exit_codes import ExitCode
from tfrec_stage.cli.hydra_errors import explain
from tfrec_stage.errors import ConfigError, TfrecStageError

_FULL_ERROR: Final = "HYDRA_FULL_ERROR"
"""Environment variable: 1 makes Hydra raise its errors instead of printing them and exiting."""


def run() -> int:
    """Run the stage that the command line names; return its exit code."""
    # Always set, so that Hydra's errors can be reported in one line. If the user has set it, the traceback is wanted.
    wants_traceback = os.environ.setdefault(_FULL_ERROR, "0") == "1"
    os.environ[_FULL_ERROR] = "1"
    job = _help if {"-h", "--help"} & set(sys.argv[1:]) else _run_job
    return job() if wants_traceback else _with_one_line_errors(job)


def _help() -> int:
    # Not Hydra's own --help, which takes 0.2 s longer (ADR 3, ADR 16).
    overrides = [argument for argument in sys.argv[1:] if argument not in {"-h", "--help"}]
    sys.argv[1:] = ["--cfg", "job", *overrides]
    _say(help_before(conf_directory()))
    code = _run_job()
    _say(help_after())
    return code


def _run_job() -> int:
    register_schema()
    codes: list[int] = []  # Hydra drops what the job returns; a multirun (-m) runs the job several times
    decorate = hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
    with _sigterm_as_exception():
        decorate(lambda composed: codes.append(_with_one_line_errors(lambda: run_stage(composed))))()
    return max(codes, default=ExitCode.DONE)


def run_stage(composed: DictConfig) -> int:
    """Run the stage that the configuration names; return its exit code."""
    config = parse_config(composed)
    # Imported late, so that --help and --cfg start fast.
    from tfrec_stage.cli import stages  # noqa: PLC0415

    _refuse_missing(config)
    if not gc.isenabled():
        # Modules and configuration live as long as the process: the collector need not look at them again (ADR 16).
        gc.freeze()
        gc.enable()
    if config.stage is StageName.verify:
        return stages.run_verify(config, manifests_by_split(composed))
    jobs = {
        StageName.manifest: stages.run_manifest,
        StageName.shards: stages.run_shards,
        StageName.stats: stages.run_stats,
        StageName.clean: stages.run_clean,
    }
    return jobs[config.stage](config)


def _refuse_missing(config: StageConfig) -> None:
    """Refuse a missing file that the command line names; at its default path it may be missing."""
    named = {override.partition("=")[0] for override in HydraConfig.get().overrides.task}
    for key in {"manifest", "labels"} & named if config.stage is not StageName.manifest else ():
        if not Path(getattr(config, key)).exists():
            raise ConfigError(f"{key}: expected a file, but there is no {getattr(config, key)}")


def _with_one_line_errors(job: Callable[[], int]) -> int:
    try:
        return job()
    except BrokenPipeError:  # the reader of our output has closed it, as `| head` does
        # Python flushes standard output on exit, which would fail again and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except (TfrecStageError, HydraException, OmegaConfBaseException, OSError) as error:
        return _complain(_in_one_line(error), ExitCode.ERROR)
    except KeyboardInterrupt:
        return _complain("interrupted; the previous output is untouched", ExitCode.INTERRUPTED)
    except _TerminatedError:
        return _complain("terminated; the previous output is untouched", ExitCode.TERMINATED)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, TfrecStageError):
        return str(error)
    # Hydra's own error of a missing file is an OSError too, and is explained below.
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"cannot use {error.filename or 'a file'}: {error.strerror or error}"
    return explain(error, StageConfig)


class _TerminatedError(BaseException):
    """SIGTERM as an exception, so that temporary files are removed on the way out.

    Like KeyboardInterrupt it is not an Exception: code that handles all errors must not handle it.
    """


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


_BEFORE = """\
Image datasets into sharded TFRecord files: a Hydra-configured stage of a DVC pipeline.

  python -m tfrec_stage dataset=train num_shards=10    manifest -> shards
  python -m tfrec_stage dataset=train stage=manifest   annotations -> manifest
  python -m tfrec_stage dataset=train stage=verify     shards -> proof that they are sound, or what is wrong with them
  python -m tfrec_stage dataset=train stage=stats      shards -> classes, boxes, keypoints and sizes, counted
  python -m tfrec_stage stage=clean clean.dry_run=true what store_dir keeps of outputs that are gone; false removes it
  python -m tfrec_stage --cfg job                      show the configuration alone
  python -m tfrec_stage --hydra-help                   more flags

== Groups (group=option) ==
{groups}

== Options (key=value) =="""

_AFTER = """
Exit codes: 0 done; 1 a wrong option or input, nothing is written; 3 more failed images (or, importing, problems) than
max_failures; 4 stage=verify found something wrong; 130 interrupted; 143 terminated. `encode`, `annotations` and
`splits` come from params.yaml: they change the bytes of shards, and DVC tracks them."""


def help_before(conf: Path) -> str:
    """Return the text before the configuration, with the groups of a conf/ directory."""
    groups = {folder.name: sorted(option.stem for option in folder.glob("*.yaml")) for folder in sorted(conf.iterdir())}
    return _BEFORE.format(
        groups="\n".join(f"{name}: {', '.join(options)}" for name, options in groups.items() if options)
    )


def help_after() -> str:
    """Return the text after the configuration."""
    return _AFTER
