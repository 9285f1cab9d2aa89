"""Helpers to run tasks on an engine in tests."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tfrec_stage.engine import EngineName, EngineOptions, run_tasks


def run(work, tasks, num_threads: int, engine: EngineName = EngineName.threads, **more) -> list:
    """Run tasks to the end and return their results."""
    return list(run_tasks(work, tasks, EngineOptions(num_threads, engine), **more))


def run_in_processes(work, tasks, num_threads: int, **more) -> list:
    """Run tasks in worker processes to the end and return their results."""
    return run(work, tasks, num_threads, EngineName.processes, **more)


def is_idle() -> bool:
    """Whether no thread and no process of an engine is left."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(("shard", "image", "worker"))]
    return not threads and not multiprocessing.active_children()


@contextmanager
def program(text: str) -> Iterator[subprocess.Popen]:
    """Run a Python program from a file, as worker processes need, with its output in pipes; wait for it at the end."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(text)
        file.flush()
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": ""}  # output in a pipe is buffered
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([sys.executable, file.name], env=environment, text=True, **pipes) as process:
            yield process
