"""Golden digests: what this program writes from the inputs beside this file, and what it wrote before."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.golden.inputs import BUILDS, IMAGES, IMPORTS, PASSED, Build, Import
from tfrec_stage import create, format_versions
from tfrec_stage.build.fingerprint import options_as_dict
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_dataset import import_dataset
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.shards.reader import read_features

GOLDEN: Final = Path(__file__).parent / "digests.json"
NUMBERS: Final = {"shards": "SHARD_FORMAT", "manifests": "MANIFEST_FORMAT"}
"""Name of the number in src/tfrec_stage/format_versions.py that stands for each part."""
_ACCOUNTS: Final = ("index.json", "stats.json", "classes.json", "failures.jsonl")
"""Files that tell of a build; tools read shards without them."""

Digests = dict[str, Any]


def compute() -> Digests:
    """What this program writes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shards = {name: _build(build, root / "builds" / f"{n}") for n, (name, build) in enumerate(BUILDS.items())}
        manifests = {name: _import(each, root / "imports" / f"{n}") for n, (name, each) in enumerate(IMPORTS.items())}
    return {
        "shards": {
            "format": format_versions.SHARD_FORMAT,
            "defaults": {
                f"{group}.{name}": value
                for group, options in options_as_dict(OutputOptions()).items()
                for name, value in options.items()
            },
            "cases": shards,
        },
        "manifests": {"format": format_versions.MANIFEST_FORMAT, "defaults": {}, "cases": manifests},
    }


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Cases and defaults of one part that are not what they were; those that are new do not count."""
    cases = {name: case for name, case in now["cases"].items() if name in before["cases"]}
    defaults = {name: value for name, value in now["defaults"].items() if name in before["defaults"]}
    return [
        *(f"the default of {name}" for name, value in defaults.items() if value != before["defaults"][name]),
        *(name for name, case in cases.items() if not _is_same(before["cases"][name], case)),
    ]


def faults(before: Digests, now: Digests) -> list[str]:
    """What forbids these digests in place of those before: changes under an old number, or an older number."""
    found = []
    for part, number in NUMBERS.items():
        names, old, new = ", ".join(changed(before[part], now[part])), before[part]["format"], now[part]["format"]
        advice = f"set it to {old + 1} there and in params.yaml, then run `make renew`"
        if new < old:
            found.append(
                f"{part}: {number} in src/tfrec_stage/format_versions.py went from {old} back to {new}; {advice}"
            )
        elif new == old and names:
            found.append(
                f"{part}: other bytes than before ({names}), but {number} in src/tfrec_stage/format_versions.py is "
                f"still {old}; if they are meant, {advice}"
            )
    return found


def _build(build: Build, directory: Path) -> dict[str, Any]:
    failed = create(build.records, "golden", directory, build.num_shards, 1, images_root=IMAGES, **build.options)
    index = json.loads((directory / "index.json").read_text())
    files = sorted(path for path in directory.iterdir() if path.name not in _ACCOUNTS)
    shards = {shard["name"]: shard["made_by"] for shard in index["shards"]}
    return {
        "shards": [_shard(directory / name, made_by) for name, made_by in shards.items()],
        "files": {path.name: _digest(_without_accounts(path)) for path in files if path.name not in shards},
        "failed": {record["id"]: record["reason"] for record in failed},
    }


def _without_accounts(path: Path) -> bytes:
    """A file of a profile without checksum and size of files that tell of the build: new options change those."""
    data = path.read_bytes()
    for metadata in _ACCOUNTS:
        content = path.with_name(metadata).read_bytes()
        data = data.replace(sha256(content).hexdigest().encode(), b"").replace(b'"%d B"' % len(content), b"")
    return data


def _shard(path: Path, made_by: list[str]) -> dict[str, Any]:
    records = [
        sorted(
            (key, int(feature.kind), list(feature.values))
            for key, feature in record.features.items()
            if key != IMAGE_KEY
        )
        for record in read_features(path)
    ]
    return {"made_by": made_by, "bytes": _digest(path.read_bytes()), "but_images": _digest(repr(records).encode())}


def _import(each: Import, root: Path) -> dict[str, Any]:
    annotations = root / "annotations"
    annotations.mkdir(parents=True)
    (root / "images").mkdir()
    for name in PASSED:
        shutil.copy(IMAGES / name, root / "images")
    named = tuple(each.write(annotations))
    read = find_importer(each.importer, each.options)
    manifest = root / "manifest" / "manifest.jsonl"
    report = import_dataset(read(named, root / each.images, root), manifest)
    files = {path.name: _digest(path.read_bytes()) for path in sorted(manifest.parent.iterdir())}
    return {"records": report.records, "problems": len(report.problems), "files": files}


def _is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether nothing changed but what other versions of Pillow, libjpeg or zlib make."""
    apart = {name: value for name, value in before.items() if name != "shards"}
    shards = before.get("shards", []), now.get("shards", [])
    return (
        apart == {name: value for name, value in now.items() if name != "shards"}
        and len(shards[0]) == len(shards[1])
        and all(map(_is_same_shard, *shards))
    )


def _is_same_shard(before: dict[str, Any], now: dict[str, Any]) -> bool:
    if before["made_by"] == now["made_by"]:
        return bool(before["bytes"] == now["bytes"])
    return (_choices(before), before["but_images"]) == (_choices(now), now["but_images"])


def _choices(shard: dict[str, Any]) -> list[str]:
    """What made the shard, without versions: `gzip (zlib, level 6)`."""
    return [re.sub(r" v?\d+\.[\w.-]+|, sample \w+", "", library) for library in shard["made_by"]]


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]
