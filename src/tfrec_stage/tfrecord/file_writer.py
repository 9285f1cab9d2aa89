"""One TFRecord file, written once from front to end."""

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
"""Pieces wait until together they are this many: each write lets go of the GIL, and to get it back from other threads
takes longer than to write one photo."""
BATCH_PIECES: Final = 1000
"""Most pieces that wait: no system call takes more than 1024 (IOV_MAX of Linux and macOS)."""


class WrittenFile(NamedTuple):
    """What a finished file is."""

    records: int
    """Number of frames."""
    size_bytes: int
    """Length of the file."""
    crc32c: int
    """CRC32C of the whole file."""


class Place(NamedTuple):
    """Where a frame stands."""

    offset: int
    """Where it can be read from, in bytes from the start of the file."""
    size_bytes: int
    """Length of the frame."""
    inflated_offset: int = 0
    """Bytes to skip of what can be inflated there, where the file is compressed."""


class NewFile:
    """A new file, written once from front to end, and the record of what was written."""

    def __init__(self, path: Path) -> None:
        _keep_freed_memory()
        self._path = path
        self._fd = _create(path)
        self._size = self._crc = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def size_bytes(self) -> int:
        """Bytes so far, those that wait included."""
        return self._size

    def write(self, pieces: Sequence[bytes]) -> int:
        """Add pieces, which are written uncopied and soon, and return their length.

        Raises:
            OutputError: what waited cannot be written, for example because the disk is full.
        """
        size = sum(map(len, pieces))
        for piece in pieces:
            self._crc = extend(self._crc, piece)
        self._size += size
        self._waiting += pieces
        self._waiting_bytes += size
        if self._waiting_bytes >= BATCH_BYTES or len(self._waiting) >= BATCH_PIECES:
            self._flush()
        return size

    def sync(self, records: int) -> WrittenFile:
        """Bring everything to disk (fsync).

        Raises:
            OutputError: the disk says no.
        """
        self._flush()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _output_error(self._path, error) from error
        return WrittenFile(records, self._size, self._crc)

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            written = os.writev(self._fd, self._waiting) if hasattr(os, "writev") else 0  # Linux and macOS have it
            if written < self._waiting_bytes:
                _write_rest(self._fd, b"".join(self._waiting), written)
        except OSError as error:
            raise _output_error(self._path, error) from error
        self._waiting.clear()
        self._waiting_bytes = 0


class ShardFile(NewFile):
    """A new TFRecord file that takes frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._records = 0

    def append(self, frame: Sequence[bytes], image_bytes: int) -> Place:  # noqa: ARG002 - the interface
        """Write one record.

        Args:
            frame: pieces of its frame.
            image_bytes: how many of its bytes are the image.

        Raises:
            OutputError: it cannot be written, for example because the disk is full.
        """
        offset = self.size_bytes
        self._records += 1
        return Place(offset, self.write(frame))

    def finish(self) -> WrittenFile:
        """Bring everything to disk; nothing may be appended after.

        Raises:
            OutputError: the disk says no.
        """
        return self.sync(self._records)


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep the memory of a batch for the next one.

    It gives back what is free beyond 128 KB, and the kernel then has to clear each page anew, until it has seen a
    larger block come and go: see M_MMAP_THRESHOLD in mallopt(3). This one is never touched, so that it costs nothing.
    """
    bytes(4 * BATCH_BYTES)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _output_error(path, error) from error


def _write_rest(fd: int, data: bytes, written: int) -> None:
    """The kernel may take less than it was given: at 2 GiB, after a signal, or just before a disk is full."""
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
