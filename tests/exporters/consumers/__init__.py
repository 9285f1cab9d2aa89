"""Readers of other packages, as released, each run as a program that prints what it read as JSON.

Each runs in its own process, because their native libraries, protobuf settings and warnings conflict.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

TIMEOUT_S = 300


def needs(*packages: str) -> None:
    """Skip the test if one of these packages is not installed. None is imported: some conflict with TensorFlow."""
    for package in packages:
        if not all(map(find_spec, accumulate(package.split("."), "{}.{}".format))):
            pytest.skip(f"needs {package}")


def consume(consumer: str, *arguments: str | Path, **variables: str) -> Any:
    """Run a program of this package and parse the last line that it prints."""
    command = [sys.executable, "-m", f"tests.exporters.consumers.{consumer}", *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
