"""TensorFlow, which has the last word on what can be read."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def import_tensorflow() -> Any:
    """TensorFlow; if this is its first import, without GPUs and what it writes on standard error about drivers."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silenced_stderr():
        tensorflow = import_module("tensorflow")
        tensorflow.config.set_visible_devices([], "GPU")
        tensorflow.constant(0)  # begins with the devices, and speaks of them
    return tensorflow


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Drop what native code writes; an exception says by itself what went wrong."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
