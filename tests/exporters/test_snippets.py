"""The code in docs/consumers.md runs as it is written there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.exporters.consumers import needs
from tests.exporters.splits import box, build_split
from tfrec_stage.schema.options import Profile

PAGE = (ROOT / "docs" / "consumers.md").read_text()
BEFORE = 'from glob import glob\nshards = sorted(glob("out/train-?????-of-?????"))\n'
TENSORFLOW = "import tensorflow as tf\n"
SHOWN = {
    "official": 'got = next(iter(dataset)); print(got["image"].shape, got["groundtruth_classes"].numpy())',
    "nvidia.dali": "pipeline = images(); pipeline.build(); (got,) = pipeline.run(); print(got[0].shape())",
    "tfrecord": 'got = next(iter(dataset)); print(len(got["image/encoded"]) > 0, got["image/class/label"])',
    "tensorflow_datasets": "print(names, image.shape, boxes.numpy().shape, labels.numpy())",
    "mlcroissant": 'print([row["classes/name"] for row in classes])',
    "": 'got = next(iter(boxes)); print(sorted(got["class"].numpy().tolist()), got["xmax"].numpy())',
}
"""Code that prints what was read, by the package that the snippet needs."""
EXPECTED = {
    "official": "(30, 40, 3) [2]",
    "nvidia.dali": "[30, 40, 3]",
    "tfrecord": "True [0]",
    "tensorflow_datasets": "['0', 'cat'] (30, 40, 3) (1, 4) [1]",
    "mlcroissant": "['0', 'cat']",
    "": "[b'cat', b'cat'] [30 30]",
}


@pytest.mark.parametrize("package", SHOWN)
def test_the_code_runs(tmp_path: Path, package: str) -> None:
    """Each code block reads a split that was built with all profiles."""
    needs(*filter(None, [package, *(["torch"] if package == "tfrecord" else [])]))
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (block,) = (each for each in blocks if _package_of(each) == package)
    build_split(tmp_path, [box(1, "cat")] * 4, profiles=[profile.name for profile in Profile])
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + TENSORFLOW * block.count("tf.data.") + block + SHOWN[package]],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == EXPECTED[package]


def _package_of(block: str) -> str:
    """The package that a block imports first; empty for a block that only needs TensorFlow."""
    found = re.match(r"(?:from|import) (\w+(?:\.dali)?)", block)
    return found[1] if found else ""
