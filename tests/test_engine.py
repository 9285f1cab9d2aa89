"""The same tasks on any number of threads."""

import threading
import time
from collections.abc import Iterable

import pytest

from tfrec_stage.engine import EngineOptions, run_tasks
from tfrec_stage.errors import ConfigError


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

    def wait_for_all(_: int) -> bool:
        together.wait(timeout=20)
        return True

    tasks = [range(4 * num_threads)] * num_tasks
    results = run(lambda task, encode_all: list(encode_all(wait_for_all, task)), tasks, num_threads)
    assert all(map(all, results))


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


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_is_an_error(num_threads: int) -> None:
    """At least one thread is needed; the message names the option."""
    with pytest.raises(ConfigError, match=r"num_threads: expected at least 1, but got"):
        EngineOptions(num_threads=num_threads)
