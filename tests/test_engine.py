"""The same tasks on any number of threads."""

import multiprocessing
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import engine_work
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
from tfrec_stage.errors import ConfigError, EngineError


def squares(task: Iterable[int], encode_all) -> list[int]:
    """A task: its items through the map it is given."""
    return list(encode_all(lambda item: item * item, task))


def run(work, tasks, num_threads: int, **more) -> list:
    return list(run_tasks(work, tasks, EngineOptions(num_threads=num_threads), **more))


@pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 3, 10])
def test_every_task_is_done_once(num_tasks: int, num_threads: int) -> None:
    """Each task gives its result, its items in their order, for any number of threads and tasks."""
    tasks = [range(number, number + 20) for number in range(num_tasks)]
    results = run(squares, tasks, num_threads)
    assert sorted(results) == [[item * item for item in task] for task in tasks]


@pytest.mark.parametrize(("num_tasks", "num_threads"), [(1, 4), (2, 4), (3, 4), (4, 4), (6, 4)])
def test_all_threads_are_busy(num_tasks: int, num_threads: int) -> None:
    """Also with fewer tasks than threads, as many items are worked on at a time as there are threads."""
    together = threading.Barrier(num_threads)
    first = iter(range(num_threads))

    def wait_for_all(_: int) -> None:
        if next(first, None) is not None:
            together.wait(timeout=20)

    tasks = [range(4 * num_threads)] * num_tasks
    run(lambda task, encode_all: list(encode_all(wait_for_all, task)), tasks, num_threads)


def test_a_slow_item_holds_at_most_a_window_back() -> None:
    """Items are taken only a little ahead of what is written: memory does not grow with the shard."""
    taken = []

    def items() -> Iterable[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    def work(task, encode_all) -> int:
        first = next(encode_all(lambda item: item, task))
        assert len(taken) <= 20
        return first

    assert run(work, [items()], 8) == [0]


@pytest.mark.parametrize("num_tasks", [1, 8])
def test_an_error_stops_the_others(num_tasks: int) -> None:
    """The first error is raised, and tasks that run are stopped at their next item."""
    done = []

    def item(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError
        time.sleep(0.001)
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        run(lambda task, encode_all: list(encode_all(item, task)), [range(100_000)] * num_tasks, 2)
    assert len(done) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("shard", "image"))]


def test_who_stops_listening_stops_the_work() -> None:
    """When the results are no longer wanted, for example after Ctrl-C, everything ends."""
    begun = []

    def item(number: int) -> None:
        begun.append(number)
        time.sleep(0.001)

    tasks = [range(1), *([range(100_000)] * 3)]
    results = run_tasks(lambda task, encode_all: list(encode_all(item, task)), tasks, EngineOptions(num_threads=2))
    next(results)
    results.close()
    assert len(begun) < 10_000


def test_ticks_count_items() -> None:
    """The driver is told how many items are finished, the last time of all."""
    ticks: list[int] = []
    run(squares, [range(10)] * 5, 2, tick=ticks.append)
    assert ticks == sorted(ticks)
    assert ticks[-1] == 50


class TestProcesses:
    """What holds for worker processes; their tasks must be importable."""

    def run(self, work, tasks: list, num_threads: int = 2) -> list:
        options = EngineOptions(num_threads=num_threads, engine=EngineName.processes)
        return list(run_tasks(work, tasks, options))

    @pytest.mark.parametrize("num_threads", [1, 2, 3])
    def test_every_task_is_done_once(self, num_threads: int) -> None:
        """Each task gives its result, for any number of processes."""
        results = self.run(engine_work.squares, [range(number, number + 5) for number in range(7)], num_threads)
        assert sorted(results) == [[item * item for item in range(number, number + 5)] for number in range(7)]

    def test_an_error_is_passed_on(self) -> None:
        """The first error of a task is raised, and the others end."""
        with pytest.raises(ZeroDivisionError):
            self.run(engine_work.divide, [[1, 2], [1, 0], [4]] * 3)
        assert multiprocessing.active_children() == []

    def test_a_killed_worker_costs_a_retry(self, tmp_path: Path) -> None:
        """Tasks whose worker was killed once are done again, and nothing is lost."""
        tasks = [(str(tmp_path / str(number)), number % 3 == 0) for number in range(7)]
        assert sorted(self.run(engine_work.die_once, tasks)) == sorted(path for path, _ in tasks)

    def test_a_task_that_kills_twice_is_named(self) -> None:
        """A task that kills its worker again is an error that names it, and says what to do."""
        with pytest.raises(EngineError, match="deadly: its worker process died 2 times"):
            self.run(engine_work.always_die, ["harmless", "deadly", "harmless too"])

    def test_ticks_count_items(self) -> None:
        """The driver is told how many items are finished, over all processes."""
        ticks: list[int] = []
        options = EngineOptions(num_threads=2, engine=EngineName.processes)
        list(run_tasks(engine_work.squares, [range(10)] * 5, options, ticks.append))
        assert ticks[-1] == 50


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_is_an_error(num_threads: int) -> None:
    """At least one thread is needed; the message names the option."""
    with pytest.raises(ConfigError, match=r"num_threads: expected at least 1, but got"):
        EngineOptions(num_threads=num_threads)
