"""What holds for threads: all are busy, memory is bounded, signals reach only the driver."""

import signal
import threading
import time
from collections.abc import Iterable

import pytest

from tests.engine.running import is_idle, run


@pytest.mark.parametrize(("num_tasks", "num_threads"), [(1, 4), (2, 4), (3, 4), (4, 4), (6, 4)])
def test_all_threads_are_busy(num_tasks: int, num_threads: int) -> None:
    """Also with fewer tasks than threads, as many items are processed at a time as there are threads."""
    together = threading.Barrier(num_threads)
    first = iter(range(num_threads))

    def wait_for_all(_: int) -> None:
        if next(first, None) is not None:
            together.wait(timeout=20)

    tasks = [range(4 * num_threads)] * num_tasks
    run(lambda task, ordered_map: list(ordered_map(wait_for_all, task)), tasks, num_threads)


def test_a_slow_item_holds_back_at_most_a_window() -> None:
    """Items are read only a little ahead of what is written: memory does not grow with the shard."""
    read = []

    def items() -> Iterable[int]:
        for item in range(1000):
            read.append(item)
            yield item

    def work(task, ordered_map) -> int:
        first = next(ordered_map(lambda item: item, task))
        assert len(read) <= 20
        return first

    assert run(work, [items()], 8) == [0]


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 8])
def test_signals_reach_only_the_driver(num_tasks: int) -> None:
    """Threads that run tasks and threads that encode images have Ctrl-C and SIGTERM blocked; the driver has not.

    Otherwise a signal could interrupt the start of a thread, which would then run on unnoticed.
    """
    driver = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def masks(task, ordered_map) -> list[set]:
        return [signal.pthread_sigmask(signal.SIG_BLOCK, ()), *ordered_map(mask_of_thread, task)]

    def mask_of_thread(_: int) -> set:
        return signal.pthread_sigmask(signal.SIG_BLOCK, ())

    found = [mask for result in run(masks, [range(6)] * num_tasks, 2) for mask in result]
    assert len(found) == 7 * num_tasks
    assert [{signal.SIGINT, signal.SIGTERM} - mask for mask in found] == [set()] * len(found)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == driver
    assert not {signal.SIGINT, signal.SIGTERM} & driver


@pytest.mark.parametrize("num_tasks", [1, 8])
def test_an_error_stops_the_other_tasks(num_tasks: int) -> None:
    """The first error is raised, and running tasks stop at their next item."""
    done = []

    def item(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError
        time.sleep(0.001)
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        run(lambda task, ordered_map: list(ordered_map(item, task)), [range(100_000)] * num_tasks, 2)
    assert len(done) < 1000
    assert is_idle()
