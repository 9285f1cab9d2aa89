"""One TFRecord file, written once from front to end."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from google_crc32c import extend

from tfrec_stage.codecs.tfrecord import encode_frame
from tfrec_stage.errors import OutputError


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What a finished file is."""

    records: int
    """Number of frames."""
    size_bytes: int
    """Length of the file."""
    crc32c: int
    """CRC32C of the whole file."""


class ShardFile:
    """A new file that takes payloads and returns the record of what it wrote.

    Pieces of a payload go to the kernel in one system call, uncopied. The file is on disk (fsync) when `finish`
    returns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _create(path)
        self._records = self._size = self._crc = 0

    def __enter__(self) -> "ShardFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def size_bytes(self) -> int:
        """Bytes written so far: where the next frame begins."""
        return self._size

    def append(self, payload: Sequence[bytes]) -> None:
        """Write one record.

        Raises:
            OutputError: it cannot be written, for example because the disk is full.
        """
        self.append_frame(encode_frame(*payload))

    def append_frame(self, frame: Sequence[bytes]) -> None:
        """Write one record that is framed already.

        Raises:
            OutputError: it cannot be written.
        """
        size = sum(map(len, frame))
        try:
            written = os.writev(self._fd, frame)
            if written < size:
                _write_rest(self._fd, b"".join(frame), written)
        except OSError as error:
            raise _output_error(self._path, error) from error
        for piece in frame:
            self._crc = extend(self._crc, piece)
        self._records += 1
        self._size += size

    def finish(self) -> WrittenFile:
        """Bring everything to disk; nothing may be appended after.

        Raises:
            OutputError: the disk says no.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _output_error(self._path, error) from error
        return WrittenFile(self._records, self._size, self._crc)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _output_error(path, error) from error


def _write_rest(fd: int, frame: bytes, written: int) -> None:
    """The kernel may take less than it was given: at 2 GiB, after a signal, or just before a disk is full."""
    while written < len(frame):
        written += os.write(fd, memoryview(frame)[written:])


def _output_error(path: Path, error: OSError) -> OutputError:
    what_to_do = {
        errno.ENOSPC: "; make room, or name another output_dir",
        errno.EDQUOT: "; the quota is used up",
        errno.EFBIG: "; the limit on file size is reached: raise it, or take more shards",
    }
    advice = what_to_do.get(error.errno or 0, "")
    return OutputError(f"cannot write {path}: {error.strerror}{advice}")
