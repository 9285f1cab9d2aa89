"""The same records give the same bytes in every process, whatever its hash seed (PYTHONHASHSEED)."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import encode_noise
from tests.workspace import environment

SEEDS = ("0", "1", "2", "3")

BUILD = """
import hashlib, pickle, sys
from pathlib import Path
from tfrec_stage import create
root = Path(sys.argv[1])
out = root / sys.argv[2]
failed = create(
    pickle.loads((root / "dataset").read_bytes()), "train", out, 2, 2, images_root=root, profiles=["od_api", "csv"],
    labels=["cat", "dog"],
)
content = [(path.name, path.read_bytes()) for path in sorted(out.iterdir())]
told = [(record["id"], record["reason"], record["error_msg"]) for record in failed]
print(hashlib.sha256(repr((content, told)).encode()).hexdigest())
"""

words = st.text(st.characters(codec="utf-8"), max_size=4)
numbers = st.integers(-9, 9) | st.floats(-9, 9)
sets = st.frozensets(words, min_size=2) | st.frozensets(numbers) | st.frozensets(words | st.integers(0, 3), min_size=2)
extras = st.recursive(
    words | numbers | st.none() | sets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


# Without shrinking: each step of it takes seconds, and the seeds that differ tell enough.
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(extras, min_size=12, max_size=12))
def test_bytes_do_not_depend_on_the_seed_of_hashes(tmp_path: Path, drawn: list[Any]) -> None:
    """Shards, metadata files and failures are the same, including sets in `extra`."""
    (tmp_path / "a.jpg").write_bytes(encode_noise(1))
    always = [
        {"tags": {"pear", "apple", "fig", "plum"}},
        {"pairs": {(2, "b"), (1, "a"), (0, "c")}},
        {"groups": {frozenset({"pear"}), frozenset({"apple"}), frozenset({"fig"}), frozenset({"plum", "date"})}},
    ]
    dataset = [
        {"filename": "a.jpg", "id": number, "class": {"text": f"{number % 3}"}, "extra": extra}
        for number, extra in enumerate([*always, *drawn])
    ]
    (tmp_path / "dataset").write_bytes(pickle.dumps(dataset))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(tmp_path), seed],
            env=environment(PYTHONHASHSEED=seed),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    told = [process.communicate(timeout=120) for process in running]
    assert [error for _, error in told] == [""] * len(SEEDS)
    assert len({digest for digest, _ in told}) == 1
