"""Text files in any Unicode encoding that they name themselves, by a byte order mark."""

import codecs
from pathlib import Path
from typing import Final

# UTF-32 comes first: its mark in little endian begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_utf8(path: Path) -> bytes:
    """Give a text file's content in UTF-8 without a byte order mark; one without a mark is given as it is.

    Source: the Unicode Standard, section 23.8, on byte order marks; Windows programs write them.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in the encoding that its mark names.
    """
    content = path.read_bytes()
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content[len(mark) :]
            return text if encoding == "utf-8" else text.decode(encoding).encode()
    return content
