"""What holds for worker processes: killed workers, signals, forks of the user's program, errors that travel."""

import fcntl
import gc
import json
import multiprocessing
import os
import pickle
import random
import re
import signal
import socket
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.engine import tasks as engine_tasks
from tests.engine.running import is_idle, program, run_in_processes
from tfrec_stage.engine import EngineName, EngineOptions, processes, run_tasks
from tfrec_stage.errors import EngineError


class TestKilledWorkers:
    """SIGKILL, which no process can catch; the kernel sends it when memory runs out."""

    @pytest.mark.parametrize("num_threads", [1, 2, 3])
    def test_a_killed_worker_costs_a_retry(self, tmp_path: Path, num_threads: int) -> None:
        """Tasks whose worker was killed once, every third here, are run again, and nothing is lost."""
        tasks = [(str(tmp_path / str(number)), number % 3 == 0) for number in range(7)]
        results = run_in_processes(engine_tasks.die_once, tasks, num_threads)
        assert sorted(results) == sorted(path for path, _ in tasks)
        assert is_idle()

    def test_workers_die_while_others_start(self, tmp_path: Path) -> None:
        """Deaths before all workers have started hang nothing."""
        for attempt in range(10):
            tasks = [(str(tmp_path / f"{attempt} {number}"), number < 2) for number in range(8)]
            results = run_in_processes(engine_tasks.die_once, tasks, 8)
            assert sorted(results) == sorted(path for path, _ in tasks)
        assert is_idle()

    @pytest.mark.parametrize("num_threads", [1, 2, 3, 4])
    def test_killers_are_named(self, num_threads: int) -> None:
        """Two of eight tasks always kill their worker: in each of 50 rounds one is named, and nothing hangs."""
        for _ in range(50):
            tasks = ["a", "deadly", "b", "c", "deadly", "d", "e", "f"]
            with pytest.raises(EngineError, match="deadly: its worker process died twice"):
                run_in_processes(engine_tasks.always_die, tasks, num_threads)
        assert is_idle()

    @pytest.mark.parametrize("others", [[], ["harmless"], ["harmless", "harmless too"]])
    def test_a_task_that_kills_twice_is_named(self, others: list[str]) -> None:
        """The error names the task, also if it is the only one, and says what to do."""
        with pytest.raises(EngineError, match=r"deadly: its worker process died twice.*more memory"):
            run_in_processes(engine_tasks.always_die, ["deadly", *others], 2)
        assert is_idle()

    def test_two_kills_are_enough(self, tmp_path: Path) -> None:
        """A task that kills is started twice, no more."""
        journal = tmp_path / "journal"
        tasks = [(str(journal), "other", 2, 0, 0), (str(journal), "killer", 2, 9, 0)]
        with pytest.raises(EngineError, match="died twice"):
            run_in_processes(engine_tasks.note_and_die, tasks, 2)
        assert journal.read_text().count("begin killer") == 2

    def test_suspects_run_alone(self, tmp_path: Path) -> None:
        """Two tasks that kill their workers at once are run again before new tasks start, each alone; others go on."""
        journal = tmp_path / "journal"
        killers = [(str(journal), f"killer {number}", 4, 1, 100) for number in range(2)]
        others = [(str(journal), f"other {number}", 4, 0, 500) for number in range(6)]
        results = run_in_processes(engine_tasks.note_and_die, [*others[:2], *killers, *others[2:]], 4)
        assert sorted(results) == [name for _, name, *_ in [*killers, *others]]
        lines = journal.read_text().splitlines()
        for _, name, *_ in killers:
            (end,) = (number for number, line in enumerate(lines) if line == f"end {name}")
            assert lines[end - 1] == f"begin {name}"  # nothing began or ended meanwhile
            begin = next(number for number, line in enumerate(lines) if line == f"begin {name}")
            assert begin < end - 1
            assert end < lines.index("begin other 2")
        for _, name, *_ in others:
            assert lines.count(f"begin {name}") == 1

    def test_large_tasks_and_results(self) -> None:
        """A worker that dies while it reads a task or writes a result larger than any pipe hangs nothing."""
        tasks = [bytes([number]) * 3_000_000 for number in range(40)]
        kills = random.Random(0)
        results = []
        for result in run_tasks(engine_tasks.echo, tasks, EngineOptions(3, EngineName.processes)):
            results.append(result)
            if len(results) in {3, 11, 23}:
                time.sleep(kills.random() / 100)
                kills.choice(multiprocessing.active_children()).kill()
        assert sorted(results) == tasks
        assert is_idle()

    def test_a_killed_server_is_started_again(self, tmp_path: Path) -> None:
        """Tasks are run again only after their worker has ended, though without the server it seems to be dead."""
        tasks = [(str(tmp_path / str(number)), number % 3) for number in range(4)]
        results = []
        for result in run_tasks(engine_tasks.hold, tasks, EngineOptions(2, EngineName.processes)):
            results.append(result)
            if len(results) == 1:
                os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        assert sorted(results) == [path for path, _ in tasks]
        assert is_idle()

    def test_images_of_a_killed_worker_count_once(self, tmp_path: Path) -> None:
        """Progress does not count images again that are encoded again."""
        tasks = [(str(tmp_path / str(number)), 20) for number in range(5)]
        ticks: list[int] = []
        assert run_in_processes(engine_tasks.die_halfway, tasks, 2, tick=ticks.append) == [20] * 5
        assert ticks[-1] == max(ticks) == 100

    def test_a_worker_killed_while_idle_costs_no_task(self) -> None:
        """When all workers are killed at one moment, also those without a task, the lost task is run again."""
        killed = []
        results = []
        for result in run_tasks(engine_tasks.linger, [1, 300], EngineOptions(2, EngineName.processes)):
            results.append(result)
            if not killed:
                killed = multiprocessing.active_children()
                for worker in killed:
                    worker.kill()
        assert results == [1, 300]
        assert len(killed) == 2
        assert is_idle()

    def test_workers_end_with_a_killed_driver(self, tmp_path: Path) -> None:
        """When the driver is killed, its workers end at once, in the middle of their tasks, and nobody complains."""
        paths = [str(tmp_path / str(number)) for number in range(2)]
        text = f"""
from pathlib import Path
from tests.engine import tasks as engine_tasks
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
if __name__ == "__main__":
    tasks = [(path, 100) for path in {paths}]
    options = EngineOptions(2, EngineName.processes)
    list(run_tasks(engine_tasks.hold, tasks, options))
"""
        with program(text) as driver:
            while not all(is_locked(path) for path in paths):
                assert driver.poll() is None
                time.sleep(0.01)
            driver.kill()
            assert driver.communicate(timeout=20) == ("", "")
        end_s = time.monotonic() + 20
        while any(is_locked(path) for path in paths):
            assert time.monotonic() < end_s
            time.sleep(0.01)


def is_locked(path: str) -> bool:
    """Whether a running task holds this file."""
    if not Path(path).exists():
        return False
    with Path(path).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class TestSignals:
    """Ctrl-C, once and twice, and SIGTERM."""

    def test_ctrl_c_does_not_wait(self) -> None:
        """It ends even workers that hold the GIL for ever."""

        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        begin_s = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_in_processes(engine_tasks.never_end, [1, 2, 3], 2, tick=interrupt)
        assert time.monotonic() - begin_s < 20
        assert is_idle()

    @pytest.mark.parametrize("calls", [0, 1])
    def test_a_second_ctrl_c(self, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that comes while workers are ended, before the first of two or the second, leaves none behind."""
        end, ended = processes._Worker.end, []

        def end_or_interrupt(worker: processes._Worker, *, is_idle: bool) -> None:
            ended.append(worker)
            if len(ended) == calls + 1:
                raise KeyboardInterrupt
            end(worker, is_idle=is_idle)

        monkeypatch.setattr(processes._Worker, "end", end_or_interrupt)
        results = run_tasks(engine_tasks.linger, [1, 100_000, 100_000], EngineOptions(2, EngineName.processes))
        assert next(results) == 1
        with pytest.raises(KeyboardInterrupt):
            results.close()
        assert len(ended) > calls + 1
        assert is_idle()

    def test_workers_without_a_task_end_by_themselves(self) -> None:
        """At the end they are not killed: what they have printed arrives."""
        text = """
from tests.engine import tasks as engine_tasks
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
if __name__ == "__main__":
    list(run_tasks(engine_tasks.say, ["hello"], EngineOptions(1, EngineName.processes)))
"""
        with program(text) as process:
            assert process.communicate(timeout=60) == ("hello\n", "")

    def test_results_that_nobody_closes(self) -> None:
        """A program that keeps them until its end does end."""
        text = """
from tests.engine import tasks as engine_tasks
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
if __name__ == "__main__":
    results = run_tasks(engine_tasks.linger, [1] * 9, EngineOptions(2, EngineName.processes))
    print(next(results))
"""
        with program(text) as process:
            try:
                assert process.communicate(timeout=60) == ("1\n", "")
            finally:
                process.kill()

    @pytest.mark.parametrize("is_prepared", [False, True])
    def test_workers_can_be_terminated(self, is_prepared: bool) -> None:
        """Signals that are blocked while a worker starts reach it afterwards, whoever starts the server."""
        text = f"""
from tests.engine import tasks as engine_tasks
from tfrec_stage.engine import EngineName, EngineOptions, prepare, run_tasks
from multiprocessing import forkserver
if __name__ == "__main__":
    options = EngineOptions(2, EngineName.processes)
    if {is_prepared}:
        prepare(engine_tasks.blocked_signals, options)
        assert forkserver._forkserver._forkserver_pid is not None
    print(sorted(run_tasks(engine_tasks.blocked_signals, ["first", "second"], options)))
"""
        with program(text) as process:
            assert process.communicate(timeout=60) == ("[[], []]\n", "")


class TestForkingPrograms:
    """Children that the user's program forks have copies of everything it has open."""

    @pytest.mark.parametrize("when", ["while a line is opened", "while a worker starts", "while it works"])
    def test_a_child_keeps_no_worker_alive(self, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that lives on does not keep a worker from ending, nor the driver from noticing that."""
        children: list[multiprocessing.context.ForkProcess] = []

        def fork(_: object = None) -> None:
            if not children:
                children.append(multiprocessing.get_context("fork").Process(target=engine_tasks.sleep_long))
                children[0].start()

        def connect_and_fork(fds: object) -> object:
            fork()
            return connect(fds)

        def open_and_fork_elsewhere() -> object:
            ends = open_line()
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join(0.2)  # it has to wait until the line is registered
            return ends

        connect, open_line = forkserver.connect_to_new_process, socket.socketpair
        if when == "while a worker starts":
            monkeypatch.setattr(forkserver, "connect_to_new_process", connect_and_fork)
        if when == "while a line is opened":
            monkeypatch.setattr(socket, "socketpair", open_and_fork_elsewhere)
        ticks = {"tick": fork} if when == "while it works" else {}
        assert sum(run_in_processes(engine_tasks.linger, [20] * 6, 2, **ticks)) == 120
        assert [child.is_alive() for child in children] == [True]
        children[0].kill()
        children[0].join()

    def test_a_child_ends_no_work(self) -> None:
        """A child that leaves the loop over the results, as its parent does later, stops nothing."""
        children = []

        def fork(_: int) -> None:
            if not children:
                children.append(os.fork())
                if children == [0]:
                    raise SystemExit

        try:
            results = run_in_processes(engine_tasks.linger, [100] * 6, 2, tick=fork)
        finally:
            if children == [0]:
                os._exit(0)
        assert os.waitpid(children[0], 0)[1] == 0
        assert results == [100] * 6
        assert is_idle()

    def test_a_child_that_exits_removes_no_file(self) -> None:
        """A child that exits like any program, and so frees what it has, leaves the parent's task files alone."""
        text = """
import os, sys
from tests.engine import tasks as engine_tasks
from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
children = []
def fork(_):
    if not children:
        children.append(os.fork())
        if children == [0]:
            sys.exit()
        os.waitpid(children[0], 0)
if __name__ == "__main__":
    print(list(run_tasks(engine_tasks.linger, [300] * 6, EngineOptions(2, EngineName.processes), fork)))
"""
        with program(text) as process:
            assert process.communicate(timeout=60)[0] == f"{[300] * 6}\n"
            assert process.returncode == 0

    def test_daemonic_processes_have_no_workers(self) -> None:
        """The error says which engine they may use."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=engine_tasks.send_error, args=(theirs,), daemon=True)
        process.start()
        assert ours.poll(60)
        assert "expected threads within a daemonic process" in ours.recv()
        process.join()


class TestErrors:
    """Errors of tasks, and tasks and results that cannot be pickled."""

    @pytest.mark.parametrize(
        ("task", "error", "message"),
        [
            ("plain", ValueError, "plain"),
            ("json", json.JSONDecodeError, "json: line 1"),
            ("exit", SystemExit, "enough"),
            ("odd", EngineError, "odd: .*OddError: something in somewhere"),
            ("refusing", engine_tasks.RefusingError, ""),
        ],
    )
    def test_errors_come_back(self, task: str, error: type[BaseException], message: str) -> None:
        """The error of a task says where in the worker it was raised, also if it cannot be pickled."""
        with pytest.raises(error) as caught:
            run_in_processes(engine_tasks.fail, [task], 1)
        assert "in fail" in caught.value.__notes__[0]
        if message:
            assert re.match(message, str(caught.value))
        assert is_idle()

    def test_what_cannot_be_sent_is_an_error(self) -> None:
        """A task or a result that cannot be pickled or unpickled raises an error in the driver, and hangs nothing."""
        with pytest.raises(FileNotFoundError, match="no such thing"):
            run_in_processes(engine_tasks.squares, [[1], engine_tasks.UnpicklableTask()], 1)
        with pytest.raises((AttributeError, pickle.PicklingError), match="give_unpicklable"):
            run_in_processes(engine_tasks.give_unpicklable, ["a"], 1)
        with pytest.raises(OSError, match="cannot be unpickled"):
            run_in_processes(engine_tasks.give, [engine_tasks.Unreadable(engine_tasks.EVERYWHERE)], 1)
        with pytest.raises(OSError, match="cannot be unpickled"):
            run_in_processes(engine_tasks.give_unreadable, [os.getpid()], 1)
        assert is_idle()

    @pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
    def test_nothing_stays_open(self) -> None:
        """Errors keep no file open, also while garbage is not collected."""
        counts = []
        gc.disable()
        try:
            for _ in range(4):
                with pytest.raises(ZeroDivisionError):
                    run_in_processes(engine_tasks.divide, [[1, 2], [0]], 2)
                counts.append(len(list(Path("/proc/self/fd").iterdir())))
        finally:
            gc.enable()
        assert len({*counts[1:]}) == 1  # the first starts the server
