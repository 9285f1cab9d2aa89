"""The bytes have a version: if they change, the number in src/tfrec_stage/format_versions.py must change."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.golden import __main__ as renewal
from tests.golden import digests
from tests.golden.digests import GOLDEN, changed, compute, find_problems
from tests.golden.inputs import BUILDS, IMPORTS
from tfrec_stage import format_versions
from tfrec_stage.build import placement
from tfrec_stage.images import encode
from tfrec_stage.importers import IMPORTERS

STORED = json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def now() -> digests.Digests:
    """The digests of what this program writes."""
    return compute()


@pytest.mark.parametrize("part", digests.VERSION_NAMES)
def test_the_same_version_gives_the_same_bytes(part: str, now: digests.Digests) -> None:
    """Under the same version the bytes are the stored ones; after it is raised, `make renew` stores new digests."""
    assert [problem for problem in find_problems(STORED, now) if problem.startswith(part)] == []
    assert STORED[part]["format"] == now[part]["format"], "the number was raised: run `make renew`"
    assert set(STORED[part]["cases"]) == set(now[part]["cases"]), "there is another case: run `make renew`"
    assert set(STORED[part]["defaults"]) == set(now[part]["defaults"]), "there is another option: run `make renew`"


def test_the_cases_do_what_their_names_say(now: digests.Digests) -> None:
    """Records fail in the cases with failures, and images are re-encoded in the cases that are named so."""
    cases = now["shards"]["cases"]
    assert {name: case["failed"] for name, case in cases.items() if case["failed"]} == {
        "failures": {
            "truncated.jpg": "image_corrupt",
            "text.jpg": "image_unknown_format",
            "absent.jpg": "image_missing",
        },
        "nothing mended": {"ycbcr.jpg": "annotation_invalid", "plain.jpg": "annotation_invalid"},
    }
    reencoded = {name for name, case in cases.items() if any("pillow" in "".join(s["made_by"]) for s in case["shards"])}
    assert reencoded == {name for name in BUILDS if "anew" in name} | {"background", "quality", "gzip of new JPEGs"}
    assert all(case["records"] and not case["problems"] for case in now["manifests"]["cases"].values())


def test_every_importer_has_a_case() -> None:
    """Each importer has a case, except Datumaro, whose version decides the manifest as well."""
    assert {each.importer for each in IMPORTS.values()} == IMPORTERS.keys() - {"datumaro"}


@pytest.mark.parametrize(
    ("module", "name", "case"),
    [(encode, "_save_jpeg", "quality"), (placement, "hash64", "order"), (placement, "_contiguous", "manifest's order")],
)
def test_a_change_of_bytes_is_noticed(module: Any, name: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that writes other bytes under the same version changes exactly the cases that show it."""
    original = getattr(module, name)
    others = {
        "_save_jpeg": lambda pixels, quality: original(pixels, quality - 1),
        "hash64": lambda data: original(data + b"!"),
        "_contiguous": lambda records, shards: original(records, shards)[::-1],
    }
    monkeypatch.setattr(module, name, others[name])
    if name == "hash64":
        monkeypatch.setattr("tfrec_stage.build.plan.hash64", others[name])
    monkeypatch.setattr(digests, "BUILDS", {case: BUILDS[case]})
    assert changed(STORED["shards"], compute()["shards"]) == [case]


def first_shard(digest: digests.Digests, case: str) -> dict[str, Any]:
    return digest["shards"]["cases"][case]["shards"][0]


def test_other_libraries_may_write_other_images(now: digests.Digests) -> None:
    """With another Pillow or zlib, everything but the images is compared, and our settings of the compressor."""
    other = deepcopy(now)
    shard = first_shard(other, "gzip of new JPEGs")
    shard["bytes"] = "another"
    shard["made_by"] = ["pillow 99.0.0, libjpeg-turbo 9.9", shard["made_by"][1].replace("zlib 1", "zlib 9")]
    assert changed(other["shards"], now["shards"]) == []
    shard["made_by"][1] = shard["made_by"][1].replace("level 6", "level 9")
    assert changed(other["shards"], now["shards"]) == ["gzip of new JPEGs"]
    first_shard(other, "annotated")["bytes"] = "another"
    assert changed(other["shards"], now["shards"]) == ["annotated", "gzip of new JPEGs"]


def test_another_default_needs_another_version(now: digests.Digests) -> None:
    """A changed default is reported, since options at their default are in no fingerprint; a new option is not."""
    other = deepcopy(now)
    other["shards"]["defaults"]["encode.verify"] = "structure"
    assert changed(other["shards"], now["shards"]) == ["the default of encode.verify"]
    del other["shards"]["defaults"]["encode.verify"]  # as if the option were new
    assert changed(other["shards"], now["shards"]) == []


def test_renewal_needs_a_raised_version(
    now: digests.Digests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """`make renew` refuses other digests under the same version, and stores them under the next."""
    before = deepcopy(now)
    first_shard(before, "annotated")["bytes"] = "another"
    golden = tmp_path / "digests.json"
    golden.write_text(json.dumps(before))
    monkeypatch.setattr(renewal, "GOLDEN", golden)
    monkeypatch.setattr(renewal, "compute", lambda: now)
    assert renewal.main() == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: shards: other bytes than before (annotated), but SHARD_FORMAT in ")
    assert printed.count("\n") == 1
    assert json.loads(golden.read_text()) == before
    raised = deepcopy(now)
    raised["shards"]["format"] = format_versions.SHARD_FORMAT + 1
    monkeypatch.setattr(renewal, "compute", lambda: raised)
    assert renewal.main() == 0
    assert json.loads(golden.read_text()) == raised
    monkeypatch.setattr(renewal, "compute", lambda: now)
    assert renewal.main() == 1  # a version never goes back
