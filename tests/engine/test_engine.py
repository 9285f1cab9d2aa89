"""The same tasks on any engine, with any number of workers."""

import gc
import json
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.engine import work as engine_work
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
from tfrec_stage.errors import ConfigError, EngineError


def run(work, tasks, num_threads: int, engine: EngineName = EngineName.threads, **more) -> list:
    return list(run_tasks(work, tasks, EngineOptions(num_threads, engine), **more))


def is_idle() -> bool:
    """Whether no thread and no process of an engine is left."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(("shard", "image"))]
    return not threads and not multiprocessing.active_children()


@pytest.mark.parametrize("engine", EngineName)
class TestEveryEngine:
    """What holds whoever does the work; tasks can be imported, as worker processes ask."""

    @pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
    @pytest.mark.parametrize("num_tasks", [0, 1, 2, 3, 10])
    def test_every_task_is_done_once(self, num_tasks: int, num_threads: int, engine: EngineName) -> None:
        """Each task gives its result, its items in their order, for any number of workers and tasks."""
        tasks = [range(number, number + 20) for number in range(num_tasks)]
        results = run(engine_work.squares, tasks, num_threads, engine)
        assert sorted(results) == [[item * item for item in task] for task in tasks]

    @pytest.mark.parametrize("num_threads", [1, 2, 3])
    def test_the_first_error_ends_the_work(self, num_threads: int, engine: EngineName) -> None:
        """With every third task failing the error of one is raised, and none runs on."""
        tasks = [[1, 2, 4], [1, 2], [0]] * 4
        results = run_tasks(engine_work.divide, tasks, EngineOptions(num_threads, engine))
        given = []
        with pytest.raises(ZeroDivisionError):
            given.extend(results)
        assert is_idle()

    def test_who_stops_listening_stops_the_work(self, engine: EngineName) -> None:
        """When the results are no longer wanted, for example after Ctrl-C, everything ends."""
        results = run_tasks(engine_work.linger, [1, *([100_000] * 3)], EngineOptions(2, engine))
        assert next(results) == 1
        begin_s = time.monotonic()
        results.close()
        assert time.monotonic() - begin_s < 100_000 * engine_work.LINGER_S / 2
        assert is_idle()

    def test_ticks_count_items(self, engine: EngineName) -> None:
        """The driver is told how many items are finished, the last time of all."""
        ticks: list[int] = []
        run(engine_work.squares, [range(10)] * 5, 2, engine, tick=ticks.append)
        assert ticks == sorted(ticks)
        assert ticks[-1] == 50


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


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 8])
def test_signals_are_left_to_the_driver(num_tasks: int) -> None:
    """Threads that do tasks and threads that encode images have Ctrl-C and SIGTERM blocked; the driver has not.

    Else a signal could end the start of a thread half-way, and nobody would wait for it.
    """
    driver = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def masks(task, encode_all) -> list[set]:
        return [signal.pthread_sigmask(signal.SIG_BLOCK, ()), *encode_all(mask_of_thread, task)]

    def mask_of_thread(_: int) -> set:
        return signal.pthread_sigmask(signal.SIG_BLOCK, ())

    found = [mask for result in run(masks, [range(6)] * num_tasks, 2) for mask in result]
    assert len(found) == 7 * num_tasks
    assert [{signal.SIGINT, signal.SIGTERM} - mask for mask in found] == [set()] * len(found)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == driver
    assert not {signal.SIGINT, signal.SIGTERM} & driver


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
    assert is_idle()


class TestProcesses:
    """What holds for worker processes alone."""

    @pytest.mark.parametrize("num_threads", [1, 2, 3])
    def test_a_killed_worker_costs_a_retry(self, tmp_path: Path, num_threads: int) -> None:
        """Tasks whose worker was killed once, every third here, are done again, and nothing is lost."""
        tasks = [(str(tmp_path / str(number)), number % 3 == 0) for number in range(7)]
        results = run(engine_work.die_once, tasks, num_threads, EngineName.processes)
        assert sorted(results) == sorted(path for path, _ in tasks)
        assert is_idle()

    def test_a_worker_may_die_while_others_begin(self, tmp_path: Path) -> None:
        """Deaths before all workers have begun hold nobody up."""
        for attempt in range(10):
            tasks = [(str(tmp_path / f"{attempt} {number}"), number < 2) for number in range(8)]
            results = run(engine_work.die_once, tasks, 8, EngineName.processes)
            assert sorted(results) == sorted(path for path, _ in tasks)
        assert is_idle()

    @pytest.mark.parametrize("num_threads", [1, 2, 3, 4])
    def test_killers_are_named(self, num_threads: int) -> None:
        """Two of eight tasks always kill their worker: in every round one of them is named, and nothing hangs."""
        for _ in range(10):
            tasks = ["a", "deadly", "b", "c", "deadly", "d", "e", "f"]
            with pytest.raises(EngineError, match="deadly: its worker process died twice"):
                run(engine_work.always_die, tasks, num_threads, EngineName.processes)
        assert is_idle()

    def test_workers_killed_amid_large_messages(self) -> None:
        """Tasks and results larger than any pipe: a worker that dies while it reads or writes one holds nobody up."""
        tasks = [bytes([number]) * 3_000_000 for number in range(40)]
        kills = random.Random(0)
        results = []
        for result in run_tasks(engine_work.echo, tasks, EngineOptions(3, EngineName.processes)):
            results.append(result)
            if len(results) in {3, 11, 23}:
                time.sleep(kills.random() / 100)
                kills.choice(multiprocessing.active_children()).kill()
        assert sorted(results) == tasks
        assert is_idle()

    def test_a_killed_server_is_started_again(self, tmp_path: Path) -> None:
        """Tasks are run again only when the workers that ran them have ended, though the server could not say so."""
        tasks = [(str(tmp_path / str(number)), 300 * number) for number in range(4)]
        results = []
        for result in run_tasks(engine_work.hold, tasks, EngineOptions(2, EngineName.processes)):
            results.append(result)
            if len(results) == 1:
                worker = multiprocessing.active_children()[0].pid
                os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
                os.kill(worker, signal.SIGKILL)
        assert sorted(results) == [path for path, _ in tasks]
        assert is_idle()

    def test_images_of_the_dead_count_once(self, tmp_path: Path) -> None:
        """What is done again is not counted again."""
        tasks = [(str(tmp_path / str(number)), 20) for number in range(5)]
        ticks: list[int] = []
        assert run(engine_work.die_halfway, tasks, 2, EngineName.processes, tick=ticks.append) == [20] * 5
        assert ticks[-1] == max(ticks) == 100

    def test_who_dies_idle_takes_no_task_along(self) -> None:
        """When all workers are killed at one moment, also those that had no task, the lost task is done again."""
        killed = []
        results = []
        for result in run_tasks(engine_work.linger, [1, 300], EngineOptions(2, EngineName.processes)):
            results.append(result)
            if not killed:
                killed = multiprocessing.active_children()
                for worker in killed:
                    worker.kill()
        assert results == [1, 300]
        assert len(killed) == 2
        assert is_idle()

    @pytest.mark.parametrize("when", ["while a worker begins", "while it works"])
    def test_a_program_that_forks_does_not_hold_workers(self, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that has copies of everything the program had open, and lives on, keeps no worker from ending."""
        children: list[multiprocessing.context.ForkProcess] = []

        def fork(_: object = None) -> None:
            if not children:
                children.append(multiprocessing.get_context("fork").Process(target=engine_work.sleep_long))
                children[0].start()

        def connect_and_fork(fds: object) -> object:
            fork()
            return connect(fds)

        connect = forkserver.connect_to_new_process
        if when == "while a worker begins":
            monkeypatch.setattr(forkserver, "connect_to_new_process", connect_and_fork)
        ticks = {"tick": fork} if when == "while it works" else {}
        assert sum(run(engine_work.linger, [20] * 6, 2, EngineName.processes, **ticks)) == 120
        assert [child.is_alive() for child in children] == [True]
        children[0].kill()
        children[0].join()

    def test_a_child_that_the_program_forked_ends_no_work(self) -> None:
        """It leaves the block of the workers as its parent does, who goes on."""
        children = []

        def fork(_: int) -> None:
            if not children:
                children.append(os.fork())
                if children == [0]:
                    raise SystemExit

        try:
            results = run(engine_work.linger, [100] * 6, 2, EngineName.processes, tick=fork)
        finally:
            if children == [0]:
                os._exit(0)
        assert os.waitpid(children[0], 0)[1] == 0
        assert results == [100] * 6
        assert is_idle()

    @pytest.mark.parametrize(
        ("task", "error", "message"),
        [
            ("plain", ValueError, "plain"),
            ("json", json.JSONDecodeError, "json: line 1"),
            ("exit", SystemExit, "enough"),
            ("odd", EngineError, "odd: .*OddError: something in somewhere"),
            ("refusing", engine_work.RefusingError, ""),
        ],
    )
    def test_errors_come_back(self, task: str, error: type[BaseException], message: str) -> None:
        """The error of a task says where in the worker it was raised, also one that cannot be pickled."""
        with pytest.raises(error) as caught:
            run(engine_work.fail, [task], 1, EngineName.processes)
        assert "in fail" in caught.value.__notes__[0]
        if message:
            assert re.match(message, str(caught.value))
        assert is_idle()

    def test_what_cannot_be_sent_is_an_error(self) -> None:
        """Of a task in the driver, of a result in the worker; nobody waits for what does not come."""
        with pytest.raises(FileNotFoundError, match="no such thing"):
            run(engine_work.squares, [[1], engine_work.UnopenableTask()], 1, EngineName.processes)
        with pytest.raises((AttributeError, pickle.PicklingError), match="give_unsendable"):
            run(engine_work.give_unsendable, ["a"], 1, EngineName.processes)
        with pytest.raises(OSError, match="cannot be made anew"):
            run(engine_work.give, [engine_work.Unreadable(engine_work.EVERYWHERE)], 1, EngineName.processes)
        with pytest.raises(OSError, match="cannot be made anew"):
            run(engine_work.give_unreadable, [os.getpid()], 1, EngineName.processes)
        assert is_idle()

    @pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
    def test_nothing_stays_open(self) -> None:
        """Errors keep no file open, also while garbage is not collected."""
        counts = []
        gc.disable()
        try:
            for _ in range(4):
                with pytest.raises(ZeroDivisionError):
                    run(engine_work.divide, [[1, 2], [0]], 2, EngineName.processes)
                counts.append(len(list(Path("/proc/self/fd").iterdir())))
        finally:
            gc.enable()
        assert len({*counts[1:]}) == 1  # the first begins the server

    def test_daemonic_processes_have_no_workers(self) -> None:
        """The error says what they may have."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=engine_work.say_what_stops, args=(theirs,), daemon=True)
        process.start()
        assert ours.poll(60)
        assert "expected threads within a daemonic process" in ours.recv()
        process.join()

    def test_a_task_that_kills_twice_is_named(self) -> None:
        """A task that kills its worker again is an error that names it, and says what to do."""
        tasks = ["harmless", "deadly", "harmless too"]
        with pytest.raises(EngineError, match="deadly: its worker process died twice"):
            run(engine_work.always_die, tasks, 2, EngineName.processes)
        assert is_idle()

    @pytest.mark.parametrize("is_prepared", [False, True])
    def test_workers_can_be_terminated(self, is_prepared: bool) -> None:
        """Signals that are held back while a worker begins reach it afterwards, whoever begins the server."""
        program = f"""
from tests.engine import work as engine_work
from tfrec_stage.engine import EngineName, EngineOptions, prepare, run_tasks
from multiprocessing import forkserver
if __name__ == "__main__":
    options = EngineOptions(2, EngineName.processes)
    if {is_prepared}:
        prepare(engine_work.held_signals, options)
        assert forkserver._forkserver._forkserver_pid is not None
    print(sorted(run_tasks(engine_work.held_signals, ["deaf", "deaf"], options)))
"""
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(program)
            file.flush()
            command = [sys.executable, file.name]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == ("[[], []]\n", "")


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_is_an_error(num_threads: int) -> None:
    """At least one thread is needed; the message names the option."""
    with pytest.raises(ConfigError, match=r"num_threads: expected .*, but got"):
        EngineOptions(num_threads=num_threads)
