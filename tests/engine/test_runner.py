"""What every engine guarantees, with any number of workers."""

import time
from concurrent.futures import BrokenExecutor

import pytest

from tests.engine import tasks as engine_tasks
from tests.engine.running import is_idle, run
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
from tfrec_stage.errors import ConfigError

pytestmark = pytest.mark.parametrize("engine", EngineName)


@pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 3, 10])
def test_every_task_is_run_once(num_tasks: int, num_threads: int, engine: EngineName) -> None:
    """Each task gives its result, with its items in order, for any number of workers and tasks."""
    tasks = [range(number, number + 20) for number in range(num_tasks)]
    results = run(engine_tasks.squares, tasks, num_threads, engine)
    assert sorted(results) == [[item * item for item in task] for task in tasks]


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_the_first_error_ends_the_work(num_threads: int, engine: EngineName) -> None:
    """If every third task fails, the error of one is raised, and no task runs on."""
    tasks = [[1, 2, 4], [1, 2], [0]] * 4
    results = run_tasks(engine_tasks.divide, tasks, EngineOptions(num_threads, engine))
    received = []
    with pytest.raises(ZeroDivisionError):
        received.extend(results)
    assert is_idle()


def test_closing_the_results_stops_the_work(engine: EngineName) -> None:
    """When the results are no longer wanted, for example after Ctrl-C, all tasks end at their next item."""
    results = run_tasks(engine_tasks.linger, [1, *([100_000] * 3)], EngineOptions(2, engine))
    assert next(results) == 1
    begin_s = time.monotonic()
    results.close()
    assert time.monotonic() - begin_s < 100_000 * engine_tasks.LINGER_S / 2
    assert is_idle()


def test_ticks_count_items(engine: EngineName) -> None:
    """The number of finished items only grows, and ends with all of them."""
    ticks: list[int] = []
    run(engine_tasks.squares, [range(10)] * 5, 2, engine, tick=ticks.append)
    assert ticks == sorted(ticks)
    assert ticks[-1] == 50


def test_ticks_come_while_a_task_runs(engine: EngineName) -> None:
    """Progress is reported image by image, not only when a shard is finished."""
    ticks: list[int] = []
    run(engine_tasks.linger, [800], 1, engine, tick=ticks.append)
    assert [tick for tick in ticks if 0 < tick < 800]


def test_a_tick_that_raises_stops_the_work(engine: EngineName) -> None:
    """The error of a progress listener is raised, and no task runs on."""

    def fail(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(engine_tasks.linger, [100_000] * 3, 2, engine, tick=fail)
    assert is_idle()


def test_a_broken_pool_of_the_work_itself(engine: EngineName) -> None:
    """An error that looks like a dead worker is raised like any other if the task raised it."""
    with pytest.raises(BrokenExecutor, match="a pool of the task's own"):
        run(engine_tasks.fail, ["broken"], 1, engine)
    assert is_idle()


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_is_an_error(num_threads: int, engine: EngineName) -> None:
    """At least one thread is needed; the message names the option."""
    with pytest.raises(ConfigError, match=r"num_threads: expected .*, but got"):
        EngineOptions(num_threads, engine)
