"""Worker processes: one task at a time for each, so that the task of one that dies is known."""

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from signal import SIGINT, SIGTERM
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.engine.signals import held_back
from tfrec_stage.engine.window import TICK_S
from tfrec_stage.engine.worker import Worker, WorkerDiedError, begin_server, begin_worker, new_stop
from tfrec_stage.errors import EngineError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_in_processes(
    work: Callable[[Task, OrderedMap], Result], tasks: Sequence[Task], workers: int, tick: Callable[[int], None]
) -> Generator[Result, None, None]:
    """See `run_tasks`.

    A task whose worker died is done again alone, with the memory of the machine to itself, before the rest.

    Raises:
        EngineError: a task's worker died twice.
    """
    begin_server(work)
    waiting = deque(tasks)
    with _Crew(work, tick) as crew:
        while waiting:
            for task in (yield from crew.run(waiting, workers)):
                crew.send_home()
                if (yield from crew.run(deque([task]), 1)):
                    raise _died_twice(task)


def _died_twice(task: object) -> EngineError:
    return EngineError(
        f"{task}: its worker process died twice, killed or out of memory; give the machine more memory, take fewer "
        "num_threads or more num_shards, or find the image that does it with engine=threads; a program of your own has "
        'to do its work below `if __name__ == "__main__":`, and to be a file'
    )


class _Job(NamedTuple, Generic[Task]):
    """A task that is being done."""

    task: Task
    worker: Worker
    done_before: int
    """Images its worker had finished before."""


class _Crew(Generic[Task, Result]):
    """Workers, begun as they are needed; all have ended when the block has."""

    def __init__(self, work: Callable[[Task, OrderedMap], Result], tick: Callable[[int], None]) -> None:
        self._driver = os.getpid()
        self._work = work
        self._tick = tick
        self._stop = new_stop()
        self._living: list[Worker] = []
        self._idle: list[Worker] = []
        self._done_before = 0  # images finished by workers that are no more

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """After an error, tasks end at their next image."""
        if os.getpid() != self._driver:  # a child that the program forked leaves the block, too
            return
        self._stop.value = kind is not None
        try:
            self._end(self._living)
        except BaseException:  # Ctrl-C once more: it is not waited for the image
            for worker in self._living:
                worker.process.kill()
            self._end(self._living)
            raise
        finally:
            for worker in self._living:
                worker.close()

    def run(self, tasks: deque[Task], most: int) -> Generator[Result, None, list[Task]]:
        """Do tasks, at most so many at a time, and remove them as they begin; once a worker has died, none begins.

        Yields:
            Results as they come.

        Returns:
            The tasks whose worker died.

        Raises:
            Exception: the first that a task raised.
        """
        jobs: dict[object, _Job[Task]] = {}
        results: list[Result] = []
        lost: list[Task] = []
        while True:
            while tasks and not lost and len(jobs) < most:
                task = tasks.popleft()
                try:
                    job = self._begin(task)
                except WorkerDiedError:
                    lost.append(task)
                else:
                    jobs[job.worker.line] = job
            yield from results  # after more work was handed over: whoever takes them may take a while
            if not jobs:
                return lost
            results = []
            for line in wait([job.worker.line for job in jobs.values()], TICK_S):
                job = jobs.pop(line)
                try:
                    results.append(job.worker.take())
                except WorkerDiedError:
                    lost.append(job.task)
                    job.worker.process.kill()  # where the line broke for another reason
                    job.worker.join()
                    self._forget(job.worker, job.done_before)  # what it had done of this task will be done again
                else:
                    self._idle.append(job.worker)
            self._tick(self._done_before + sum(worker.done.value for worker in self._living))

    def send_home(self) -> None:
        """End the idle, for their memory, and since one may have died while it had no task."""
        self._end(self._idle)
        for worker in self._idle:
            self._forget(worker, worker.done.value)
        self._idle.clear()

    def _begin(self, task: Task) -> _Job[Task]:
        with held_back(SIGINT, SIGTERM):  # a worker that is not noted would be waited for by nobody
            if not self._idle:
                self._idle.append(begin_worker(self._work, self._stop))
                self._living.append(self._idle[-1])
        worker = self._idle.pop()
        job = _Job(task, worker, worker.done.value)
        worker.hand_over(task)
        return job

    def _forget(self, worker: Worker, done: int) -> None:
        """Give back what is held of one that has ended, and keep only how many images it had finished for good."""
        self._done_before += done
        self._living.remove(worker)
        worker.close()

    @staticmethod
    def _end(workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.join()
