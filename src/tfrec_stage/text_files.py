"""Text files in any Unicode encoding that they name themselves, by a byte order mark.

Source: the Unicode Standard, section 23.8; Windows programs write such marks.
"""

import codecs
from pathlib import Path
from typing import Final

# UTF-32 comes first: its mark in little endian begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK_BYTES: Final = 4
"""Most bytes of a mark."""


def find_encoding(start: bytes, unmarked: str = "utf-8") -> str:
    r"""Give Python's name of the encoding that the first bytes of a text name.

    The codec of that name passes over the mark.

    Args:
        start: the first bytes, `MARK_BYTES` of them or more.
        unmarked: the encoding of a text without a mark.

    >>> find_encoding(b"\xff\xfea\0"), find_encoding(b"abc")
    ('utf-16', 'utf-8')
    """
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), unmarked)


def is_utf8(text: str) -> bool:
    """Say whether UTF-8 can hold a text; file systems take any bytes as names, which Python carries as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_text(path: Path) -> str:
    """Give a text file's content without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in the encoding that its mark names; without a mark, not in UTF-8.
    """
    content = path.read_bytes()
    return content.decode(find_encoding(content))


def read_utf8(path: Path) -> bytes:
    """Give a text file's content in UTF-8 without a byte order mark; one without a mark is given as it is.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in the encoding that its mark names.
    """
    content = path.read_bytes()
    encoding = find_encoding(content)
    if encoding in {"utf-8", "utf-8-sig"}:  # nothing to decode: whoever reads it says what is no UTF-8
        return content.removeprefix(codecs.BOM_UTF8)
    return content.decode(encoding).encode()
