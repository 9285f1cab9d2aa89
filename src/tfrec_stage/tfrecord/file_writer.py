"""Write one TFRecord file, once, from front to end."""

import errno
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from google_crc32c import extend

from tfrec_stage.errors import OutputError

BATCH_BYTES: Final = 1 << 20
"""Pieces are collected until together they have this many bytes, and written by one system call. Each call releases the
GIL, and with several threads, getting it back takes longer than writing one photograph (docs/adr/0016)."""
BATCH_PIECES: Final = 1000
"""Largest number of pieces collected: one call of `writev` takes no more than 1024 (IOV_MAX on Linux and macOS)."""


class WrittenFile(NamedTuple):
    """A finished file."""

    records: int
    """Number of frames."""
    size_bytes: int
    """Length of the file."""
    crc32c: int
    """CRC32C of the whole file."""


class FramePosition(NamedTuple):
    """Where a frame is in its file."""

    offset: int
    """Offset to read from, in bytes from the start of the file: that of the frame, or of the gzip block that has it."""
    size_bytes: int
    """Length of the frame, not compressed."""
    inflated_offset: int = 0
    """Offset of the frame in the inflated block, in bytes; 0 if the file is not compressed."""


class ShardWriter:
    """Writes a new file of frames."""

    def __init__(self, path: Path) -> None:
        _keep_freed_memory()
        self._path = path
        self._fd = _create(path)
        self._size = self._crc = self._records = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Pending pieces are dropped: after `finish` there are none, and without it the file is not used.
        os.close(self._fd)

    @property
    def size_bytes(self) -> int:
        """Length of the file so far, pending pieces included."""
        return self._size

    def append(self, frame: Sequence[bytes], image_bytes: int) -> FramePosition:  # noqa: ARG002 - gzip needs it
        """Write one record.

        Args:
            frame: the pieces of its frame; they are not copied.
            image_bytes: how many of its bytes are the image.

        Raises:
            OutputError: a batch cannot be written, for example because the disk is full.
        """
        position = FramePosition(self._size, sum(map(len, frame)))
        self._records += 1
        self._write(frame)
        return position

    def finish(self) -> WrittenFile:
        """Write what is pending and sync it to disk; nothing may be appended after.

        Raises:
            OutputError: the file cannot be written or synced.
        """
        self._flush()
        try:
            # The file is now linked into the cache and its directory renamed: after a power failure, neither name may
            # lead to missing bytes.
            os.fsync(self._fd)
        except OSError as error:
            raise _output_error(self._path, error) from error
        return WrittenFile(self._records, self._size, self._crc)

    def _write(self, pieces: Sequence[bytes]) -> None:
        size = sum(map(len, pieces))
        for piece in pieces:
            # The frame has a CRC of the same bytes, but combining CRCs in Python takes longer than summing again.
            self._crc = extend(self._crc, piece)
        self._size += size
        self._pending += pieces
        self._pending_bytes += size
        if self._pending_bytes >= BATCH_BYTES or len(self._pending) >= BATCH_PIECES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            # writev hands all pieces to the kernel without joining them first. Linux and macOS have it.
            written = os.writev(self._fd, self._pending) if hasattr(os, "writev") else 0
            if written < self._pending_bytes:
                _write_rest(self._fd, b"".join(self._pending), written)
        except OSError as error:
            raise _output_error(self._path, error) from error
        self._pending.clear()
        self._pending_bytes = 0


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep the memory of a written batch for the next one.

    At first it returns free memory beyond 128 KB to the kernel and maps larger blocks one by one, and the kernel has to
    clear new pages for every batch. Freeing a mapped block raises both limits: that of mapping to its size, that of
    returning to twice its size (M_MMAP_THRESHOLD in mallopt(3)). This block is never touched, so it takes no memory.

    Builds of photographs of 30 to 400 KB with `verify: structure` take a tenth less time; photographs of 110 KB gain
    nothing (benchmarks/bench_memory.py).
    """
    bytes(4 * BATCH_BYTES)


def _create(path: Path) -> int:
    try:
        # O_EXCL: an existing file may be a hard link to a cached shard, and writing to it would change that one too.
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _output_error(path, error) from error


def _write_rest(fd: int, data: bytes, written: int) -> None:
    """Write what a short write left: the kernel may stop at 2 GiB, after a signal, or just before a disk is full."""
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _output_error(path: Path, error: OSError) -> OutputError:
    what_to_do = {
        errno.ENOSPC: "; make room, or name another output_dir",
        errno.EDQUOT: "; the quota is used up",
        errno.EFBIG: "; the limit on file size is reached: raise it, or take more shards",
    }
    advice = what_to_do.get(error.errno or 0, "")
    return OutputError(f"cannot write {path}: {error.strerror}{advice}")
