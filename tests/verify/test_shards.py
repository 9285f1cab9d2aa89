"""What index.json may state about its options."""

import json
from pathlib import Path

from tests.conftest import encode_noise
from tfrec_stage import create
from tfrec_stage.build.options import EncodeOptions
from tfrec_stage.verify.findings import Findings
from tfrec_stage.verify.shards import find_shard_set


def test_an_index_may_lack_a_newer_option(tmp_path: Path) -> None:
    """An index from before an option existed is valid, and the option has its default."""
    (tmp_path / "a.jpg").write_bytes(encode_noise(1))
    directory = tmp_path / "out"
    assert create([{"filename": "a.jpg", "id": "a"}], "train", directory, 1, 1, images_root=tmp_path) == []
    path = directory / "index.json"
    index = json.loads(path.read_text())
    assert index["options"]["encode"].pop("area") == "normalized"
    path.unlink()
    path.write_text(json.dumps(index))
    findings = Findings(10)
    shard_set = find_shard_set(str(directory), findings)
    assert (findings.total, shard_set.output_options.encode) == (0, EncodeOptions())
