"""Golden digests: digests of what this program writes from the inputs in `inputs`, and their comparison."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.golden.inputs import BUILDS, IMAGES, IMPORTS, PASSED_THROUGH, Build, Import
from tfrec_stage import create, format_versions
from tfrec_stage.build.fingerprint import options_as_dict
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.shards.reader import read_features

GOLDEN: Final = Path(__file__).parent / "digests.json"
VERSION_NAMES: Final = {"shards": "SHARD_FORMAT", "manifests": "MANIFEST_FORMAT"}
"""Constant in src/tfrec_stage/format_versions.py with the version of each part."""
_METADATA_NAMES: Final = ("index.json", "stats.json", "classes.json", "failures.jsonl")
"""Metadata files. They have no format version: shards are read without them."""

Digests = dict[str, Any]


def compute() -> Digests:
    """Build and import all inputs, and return the digests of what is written."""
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
    """Return the cases and defaults of one part that changed; new ones are not changes."""
    cases = {name: case for name, case in now["cases"].items() if name in before["cases"]}
    defaults = {name: value for name, value in now["defaults"].items() if name in before["defaults"]}
    return [
        *(f"the default of {name}" for name, value in defaults.items() if value != before["defaults"][name]),
        *(name for name, case in cases.items() if not _is_same(before["cases"][name], case)),
    ]


def find_problems(before: Digests, now: Digests) -> list[str]:
    """Return one message for each part whose bytes changed but not its version, or whose version went back."""
    problems = []
    for part, number in VERSION_NAMES.items():
        names, old, new = ", ".join(changed(before[part], now[part])), before[part]["format"], now[part]["format"]
        advice = f"set it to {old + 1} there and in params.yaml, then run `make renew`"
        if new < old:
            problems.append(
                f"{part}: {number} in src/tfrec_stage/format_versions.py went from {old} back to {new}; {advice}"
            )
        elif new == old and names:
            problems.append(
                f"{part}: other bytes than before ({names}), but {number} in src/tfrec_stage/format_versions.py is "
                f"still {old}; if they are meant, {advice}"
            )
    return problems


def _build(build: Build, directory: Path) -> dict[str, Any]:
    failed = create(build.records, "golden", directory, build.num_shards, 1, images_root=IMAGES, **build.options)
    index = json.loads((directory / "index.json").read_text())
    files = sorted(path for path in directory.iterdir() if path.name not in _METADATA_NAMES)
    shards = {shard["name"]: shard["made_by"] for shard in index["shards"]}
    return {
        "shards": [_shard(directory / name, made_by) for name, made_by in shards.items()],
        "files": {path.name: _digest(_without_metadata(path)) for path in files if path.name not in shards},
        "failed": {record["id"]: record["reason"] for record in failed},
    }


def _without_metadata(path: Path) -> bytes:
    """Return a file of a profile without the checksums and sizes of metadata files, which any new option changes."""
    data = path.read_bytes()
    for metadata in _METADATA_NAMES:
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
    for name in PASSED_THROUGH:
        shutil.copy(IMAGES / name, root / "images")
    named = tuple(each.write(annotations))
    read = find_importer(each.importer, each.options)
    manifest = root / "manifest" / "manifest.jsonl"
    report = import_dataset(read(named, root / each.images, root), manifest)
    files = {path.name: _digest(path.read_bytes()) for path in sorted(manifest.parent.iterdir())}
    return {"records": report.records, "problems": len(report.problems), "files": files}


def _is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Return whether a case is the same, apart from images and compression by other versions of libraries."""
    apart = {name: value for name, value in before.items() if name != "shards"}
    shards = before.get("shards", []), now.get("shards", [])
    return (
        apart == {name: value for name, value in now.items() if name != "shards"}
        and len(shards[0]) == len(shards[1])
        and all(map(_is_same_shard, *shards))
    )


def _is_same_shard(before: dict[str, Any], now: dict[str, Any]) -> bool:
    # Other versions of Pillow, libjpeg or zlib may give other bytes: then everything but the images is compared.
    if before["made_by"] == now["made_by"]:
        return bool(before["bytes"] == now["bytes"])
    return (_choices(before), before["but_images"]) == (_choices(now), now["but_images"])


def _choices(shard: dict[str, Any]) -> list[str]:
    """Return the libraries that a shard was written with and their settings, without versions."""
    return [re.sub(r" v?\d+\.[\w.-]+|, sample \w+", "", library) for library in shard["made_by"]]


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]
