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

from tfrec_stage.config import (
    StageConfig,
    StageName,
    conf_directory,
    explain,
    manifests_by_split,
    parse_config,
    register_schema,
)
from tfrec_stage.errors import ConfigError, TfrecStageError
from tfrec_stage.help import help_after, help_before

EXIT_DONE: Final = 0
EXIT_WRONG: Final = 1
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143

_FULL_ERROR: Final = "HYDRA_FULL_ERROR"


def run() -> int:
    """Run a stage as the command line says; its exit code."""
    # Hydra then hands us its errors, to be told in one line; who sets the variable wants the traceback.
    wants_traceback = os.environ.setdefault(_FULL_ERROR, "0") == "1"
    os.environ[_FULL_ERROR] = "1"
    job = _help if {"-h", "--help"} & set(sys.argv[1:]) else _run_job
    return job() if wants_traceback else _told_in_one_line(job)


def _help() -> int:
    overrides = [argument for argument in sys.argv[1:] if argument not in {"-h", "--help"}]
    sys.argv[1:] = ["--cfg", "job", *overrides]
    _say(help_before(conf_directory()))
    code = _run_job()
    _say(help_after())
    return code


def _run_job() -> int:
    register_schema()
    codes: list[int] = []
    decorate = hydra.main(version_base="1.3", config_path=str(conf_directory()), config_name="config")
    with _sigterm_as_exception():
        decorate(lambda composed: codes.append(_told_in_one_line(lambda: run_stage(composed))))()
    return max(codes, default=EXIT_DONE)


def run_stage(composed: DictConfig) -> int:
    """Run the stage that the configuration names; its exit code."""
    config = parse_config(composed)
    # Late, so that --help and --cfg answer at once.
    from tfrec_stage import stages  # noqa: PLC0415

    _refuse_absent(config)
    if not gc.isenabled():
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


def _refuse_absent(config: StageConfig) -> None:
    """A file may be absent where it usually lies, but not where the command line says that it is."""
    named = {override.partition("=")[0] for override in HydraConfig.get().overrides.task}
    for key in {"manifest", "labels"} & named if config.stage is not StageName.manifest else ():
        if not Path(getattr(config, key)).exists():
            raise ConfigError(f"{key}: expected a file, but there is no {getattr(config, key)}")


def _told_in_one_line(job: Callable[[], int]) -> int:
    try:
        return job()
    except BrokenPipeError:  # whoever reads our words has heard enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_WRONG
    except (TfrecStageError, HydraException, OmegaConfBaseException, OSError) as error:
        return _complain(_in_one_line(error), EXIT_WRONG)
    except KeyboardInterrupt:
        return _complain("interrupted; the previous output is untouched", EXIT_INTERRUPTED)
    except _TerminatedError:
        return _complain("terminated; the previous output is untouched", EXIT_TERMINATED)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, TfrecStageError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, HydraException):  # a directory that nobody may look into
        return f"cannot use {error.filename or 'a file'}: {error.strerror or error}"
    return explain(error)


class _TerminatedError(BaseException):
    """SIGTERM, as an exception, so that everything is put away on the way out."""


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
