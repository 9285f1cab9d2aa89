"""What `dvc repro` costs after a change: in stages, shards, hashes and bytes that travel."""

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
    """A clone whose files DVC knows."""
    assert stages_run(dvc("repro", directory=clone)) == []
    return clone


@pytest.fixture
def remote(workspace: Path, tmp_path: Path) -> Path:
    """A remote in a local folder, to which the workspace has pushed everything."""
    dvc("remote", "add", "-d", "local", str(tmp_path / "remote"), directory=workspace)
    commit(workspace, "remote")
    dvc("push", directory=workspace)
    return tmp_path / "remote"


def change_image(clone: Path, quality: int = 50) -> Path:
    """Another image under the same name, told to DVC."""
    image = min((clone / "data" / "raw" / "images" / "train").glob("*.jpg"))
    pixels = Image.open(image).convert("RGB")
    image.unlink()  # a hard link into DVC's cache is never written through
    pixels.save(image, quality=quality)
    # The drawing stage would draw the image again: what is done by hand is committed to DVC instead.
    dvc("commit", "-f", "raw", directory=clone)
    return image


def shard_inodes(clone: Path) -> dict[str, int]:
    """Inode of every shard of train."""
    return {path.name: path.stat().st_ino for path in (clone / "data" / "shards" / "train").glob("*-of-*")}


def inodes_below(directory: Path) -> set[int]:
    return {path.stat().st_ino for path in directory.rglob("*") if path.is_file()}


def objects(cache: Path) -> dict[str, str]:
    """SHA-256 of every object of a cache or a remote."""
    files = (path for path in (cache / "files").rglob("*") if path.is_file())
    return {str(path.relative_to(cache)): sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_changed_image(workspace: Path) -> None:
    """One image: its manifest, its split, one shard.

    The other shards are one file in workspace, DVC's cache and store, before and after; DVC hashes none of them.
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
    """An image that fails ends in exit code 3 and DVC stops; after the repair one shard is built."""
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


def test_a_run_that_was_killed_goes_on(workspace: Path) -> None:
    """SIGKILL for DVC and its stage in the middle: the rerun builds only what was not finished."""
    edit(workspace / "params.yaml", "verify: decode", "verify: structure")
    store = workspace / ".tfrec_cache" / "v1" / "shards"
    before = set(store.iterdir())
    command = [sys.executable, "-m", "dvc", "repro", "shards@train"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, cwd=workspace, env=environment(TFREC_NUM_THREADS="1"), **options) as process:
        while len([path for path in set(store.iterdir()) - before if path.suffix == ".jsonl"]) < 2:
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    finished = len([path for path in set(store.iterdir()) - before if path.suffix == ".jsonl"])
    output = dvc("repro", "shards@train", directory=workspace)
    assert 2 <= finished <= 10
    assert f"({10 - finished} built, {finished} unchanged)" in output


def test_a_fresh_clone_fetches_only_shards(workspace: Path, remote: Path, tmp_path: Path) -> None:
    """`dvc repro --pull --allow-missing && dvc pull shards` in a fresh clone runs nothing and fetches no image.

    One image changed after that: the images of its split are fetched, one shard is built, and pushed are the
    manifest, one shard and its accounts.
    """
    fresh = clone_from(workspace, tmp_path / "fresh")
    output = dvc("repro", "--pull", "--allow-missing", directory=fresh)
    assert stages_run(output) == []
    assert not (fresh / "data").exists()
    dvc("pull", "shards", directory=fresh)
    assert shards_of(fresh) == shards_of(workspace)
    assert sorted(path.name for path in (fresh / "data").iterdir()) == ["shards"]
    wanted = {path.read_bytes() for path in (workspace / "data" / "shards").rglob("*") if path.is_file()}
    assert len(objects(fresh / ".dvc" / "cache")) <= len(wanted) + 3  # and a listing a split

    change_image(workspace)
    dvc("push", "raw", directory=workspace)
    commit(workspace, "another image")
    shutil.copytree(
        workspace / ".tfrec_cache", fresh / ".tfrec_cache"
    )  # as a CI restores it: other inodes, other times
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


def test_the_cache_is_never_written_into(workspace: Path) -> None:
    """Twenty builds over outputs that are hard links into DVC's cache, by root too: every object stays as it was."""
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
