"""A compressed shard, read as if it were not."""

import gzip
import zlib
from typing import BinaryIO

from tfrec_stage.errors import ShardError


class InflatedShard(gzip.GzipFile):
    """The bytes inside a gzip file, as a stream.

    Raises:
        ShardError: on reading, where the file is damaged or ends too early.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, as of any stream; the last read compares the checksum of all."""
        start = self.tell()
        try:
            return super().read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ShardError(
                f"{self._file.name}: damaged gzip file, behind byte {start} of what it inflates to: {error}; "
                "build the shard anew, or fetch it again"
            ) from error

    def close(self) -> None:
        """Close the file too."""
        super().close()
        self._file.close()
