"""After a change, `dvc repro` runs, builds, hashes and transfers only what is necessary."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from tests.workspace import commit, dvc, edit, environment, run, stages_run
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.manifest import open_manifest

pytestmark = pytest.mark.dvc

ONE_BUILT = "train: 200 images in 10 shards (1 built, 9 unchanged)"

COUNT_HASHES = """
import sys
from dvc.cli import main
from dvc_data.hashfile import hash as hashing

original = hashing._hash_file

def count(path, *arguments, **options):
    print("hashed", path)
    return original(path, *arguments, **options)

hashing._hash_file = count
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def workspace(clone: Path) -> Path:
    """A clone after a second `dvc repro`, when DVC has recorded all files."""
    assert stages_run(dvc("repro", directory=clone)) == []
    return clone


@pytest.fixture
def remote(workspace: Path, tmp_path: Path) -> Path:
    """A remote in a local folder, with everything that the workspace has."""
    dvc("remote", "add", "-d", "local", str(tmp_path / "remote"), directory=workspace)
    commit(workspace, "remote")
    dvc("push", directory=workspace)
    return tmp_path / "remote"


def change_image(clone: Path, quality: int = 50) -> Path:
    """Replace an image of train, commit it to DVC, and return its path."""
    image = min((clone / "data" / "raw" / "images" / "train").glob("*.jpg"))
    pixels = Image.open(image).convert("RGB")
    image.unlink()  # a hard link into DVC's cache is never written through
    pixels.save(image, quality=quality)
    # Without this commit the stage that draws the dataset would restore the image.
    dvc("commit", "-f", "raw", directory=clone)
    return image


def shard_inodes(clone: Path) -> dict[str, int]:
    """Return the inode of every shard of train."""
    return {path.name: path.stat().st_ino for path in (clone / "data" / "shards" / "train").glob("*-of-*")}


def inodes_below(directory: Path) -> set[int]:
    return {path.stat().st_ino for path in directory.rglob("*") if path.is_file()}


def objects(cache: Path) -> dict[str, str]:
    """Return the SHA-256 of every object in a cache or a remote."""
    files = (path for path in (cache / "files").rglob("*") if path.is_file())
    return {str(path.relative_to(cache)): sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_changed_image(workspace: Path) -> None:
    """One changed image runs the stages of its split and builds one shard.

    The other shards stay hard links of the same files in the workspace, DVC's cache and the shard cache, and DVC does
    not hash them again.
    """
    before = shard_inodes(workspace)
    change_image(workspace)
    done = run([sys.executable, "-c", COUNT_HASHES, "repro"], workspace)
    assert stages_run(done.stdout) == ["manifest@train", "shards@train"]
    assert ONE_BUILT in done.stdout
    after = shard_inodes(workspace)
    assert sum(before[name] != after[name] for name in before) == 1
    assert set(after.values()) <= inodes_below(workspace / ".dvc" / "cache")
    assert set(after.values()) <= inodes_below(workspace / ".tfrec_cache" / "v1" / "shards")
    hashed = [Path(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("hashed")]
    shards = {path.name for path in hashed if "-of-" in path.name}
    assert shards == {name for name in before if before[name] != after[name]}


def test_a_run_that_failed_is_repaired(workspace: Path) -> None:
    """A failed image stops `dvc repro`; after the repair only its shard is built."""
    image = change_image(workspace)
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(b"<html>404</html>")
    dvc("commit", "-f", "raw", directory=workspace)
    output = dvc("repro", directory=workspace, expect=None)
    assert "train: 1 of 200 images failed, more than max_failures=0 allows" in output
    assert "failed to reproduce 'shards@train'" in output
    image.unlink()
    image.write_bytes(content)
    dvc("commit", "-f", "raw", directory=workspace)
    assert ONE_BUILT in dvc("repro", directory=workspace)


def test_a_killed_run_is_resumed(workspace: Path) -> None:
    """After DVC and its stage were killed, the next run builds only the shards that were not finished."""
    edit(workspace / "params.yaml", "verify: decode", "verify: structure")
    shards = workspace / ".tfrec_cache" / "v1" / "shards"
    before = set(shards.iterdir())
    command = [sys.executable, "-m", "dvc", "repro", "shards@train"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, cwd=workspace, env=environment(TFREC_NUM_THREADS="1"), **options) as process:
        while len([path for path in set(shards.iterdir()) - before if path.suffix == ".jsonl"]) < 2:
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    finished = len([path for path in set(shards.iterdir()) - before if path.suffix == ".jsonl"])
    output = dvc("repro", "shards@train", directory=workspace)
    assert 2 <= finished <= 10
    assert f"({10 - finished} built, {finished} unchanged)" in output


def test_a_fresh_clone_fetches_only_shards(workspace: Path, remote: Path, tmp_path: Path) -> None:
    """`dvc repro --pull --allow-missing && dvc pull shards` in a fresh clone runs no stage and fetches no image.

    After one image has changed, the images of its split are fetched and one shard is built. Only the manifest, this
    shard and its metadata files are pushed.
    """
    fresh = clone_from(workspace, tmp_path / "fresh")
    output = dvc("repro", "--pull", "--allow-missing", directory=fresh)
    assert stages_run(output) == []
    assert not (fresh / "data").exists()
    dvc("pull", "shards", directory=fresh)
    assert shards_of(fresh) == shards_of(workspace)
    assert sorted(path.name for path in (fresh / "data").iterdir()) == ["shards"]
    wanted = {path.read_bytes() for path in (workspace / "data" / "shards").rglob("*") if path.is_file()}
    assert len(objects(fresh / ".dvc" / "cache")) <= len(wanted) + 3  # and one listing per split

    change_image(workspace)
    dvc("push", "raw", directory=workspace)
    commit(workspace, "another image")
    shutil.copytree(
        workspace / ".tfrec_cache", fresh / ".tfrec_cache"
    )  # as CI restores it: with other inodes and times
    run(["git", "pull", "-q"], fresh)
    output = dvc("repro", "--pull", "--allow-missing", directory=fresh)
    assert stages_run(output) == ["manifest@train", "shards@train"]
    assert ONE_BUILT in output
    assert {path.name for path in (fresh / "data" / "raw" / "images").iterdir()} == {"train"}
    before = objects(remote)
    dvc("push", directory=fresh)
    pushed = [(remote / name) for name in objects(remote).keys() - before.keys()]
    kinds = Counter(kind_of(path) for path in pushed)
    assert kinds == {"shard": 1, "listing": 1, "text": 3}  # the manifest, index.json, stats.json


def clone_from(origin: Path, directory: Path) -> Path:
    run(["git", "clone", "-q", str(origin), str(directory)], origin)
    return directory


def shards_of(clone: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (clone / "data" / "shards").rglob("*-of-*")}


def kind_of(path: Path) -> str:
    if path.suffix == ".dir":
        return "listing"
    return "text" if path.read_bytes()[:1] in b"{[" else "shard"


def test_dvc_s_cache_is_never_written(workspace: Path) -> None:
    """Builds over outputs that are hard links into DVC's cache leave every object unchanged, also as root."""
    before = objects(workspace / ".dvc" / "cache")
    assert set(shard_inodes(workspace).values()) <= inodes_below(workspace / ".dvc" / "cache")
    output = workspace / "data" / "shards" / "train"
    lines = (workspace / "data" / "manifests" / "train" / "manifest.jsonl").read_text().splitlines(keepends=True)
    manifest = workspace / "edited.jsonl"
    for turn in range(20):
        manifest.write_text("".join(lines[turn % 3 :]))
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=10 - turn % 4,
            output_options=OutputOptions(encode=EncodeOptions(seed=turn // 2)),
            images_root=workspace / "data" / "raw" / "images",
            store_directory=workspace / ".tfrec_cache",
        )
        assert not len(build(open_manifest(manifest), request).failures)
        assert objects(workspace / ".dvc" / "cache") == before
    manifest.unlink()
    dvc("checkout", "-f", directory=workspace)
    assert "up to date" in dvc("status", directory=workspace)
