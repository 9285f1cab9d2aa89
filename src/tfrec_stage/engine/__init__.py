"""Who does the work: the same tasks on threads or on worker processes.

The unit of work is one shard: a function of a small task, idempotent, that writes its own file and returns little. The
driver keeps a bounded window of tasks, gives results as they come and stops everything at the first error.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from tfrec_stage.engine.options import EngineName, EngineOptions
from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.engine.threads import run_in_threads

__all__ = ["EngineName", "EngineOptions", "OrderedMap", "prepare", "run_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    work: Callable[[Task, OrderedMap], Result],
    tasks: Sequence[Task],
    options: EngineOptions,
    tick: Callable[[int], None] = lambda _: None,
) -> Generator[Result, None, None]:
    """Results of all tasks, as they come; close it where not all are taken, so that the work has ended.

    Args:
        work: does one task; it takes the images through the `map` it is given. For processes it can be pickled, as
            can tasks and results.
        tasks: what to do.
        options: how many at a time, and as what.
        tick: told, a few times a second, how many images are finished.

    Raises:
        Exception: the first that a task raised; the others are stopped before it is passed on.
        EngineError: a task killed its worker process twice.
    """
    return _runner(options.engine)(work, tasks, options.num_threads, tick)


def prepare(work: Callable[..., Any], options: EngineOptions) -> None:
    """Begin what the engine needs and takes long to begin, while the caller still plans; may be left out."""
    if options.engine is EngineName.processes:
        from tfrec_stage.engine.worker import begin_server  # noqa: PLC0415 - as below

        begin_server(work)


def _runner(engine: EngineName) -> Callable[..., Generator[Any, None, None]]:
    if engine is EngineName.threads:
        return run_in_threads
    from tfrec_stage.engine.processes import run_in_processes  # noqa: PLC0415 - threads do without multiprocessing

    return run_in_processes
