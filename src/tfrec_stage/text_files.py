"""Read text files in the Unicode encoding that their byte order mark names.

Source: the Unicode Standard, section 23.8; Windows programs write such marks.
"""

import codecs
from pathlib import Path
from typing import Final

# UTF-32 before UTF-16: its little-endian mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK_BYTES: Final = 4
"""Length of the longest mark."""


def find_encoding(start: bytes, unmarked: str = "utf-8") -> str:
    r"""Return Python's name of the encoding that the first bytes of a text show.

    The codec of that name skips the mark.

    Args:
        start: the first bytes, `MARK_BYTES` of them or more.
        unmarked: the encoding of a text without a mark.

    >>> find_encoding(b"\xff\xfea\0"), find_encoding(b"abc")
    ('utf-16', 'utf-8')
    """
    # "utf-16" and "utf-32" without a suffix: codecs with "-le" or "-be" would keep the mark as a character.
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), unmarked)


def is_utf8(text: str) -> bool:
    """Return whether a text can be stored as UTF-8: file names may be any bytes, which Python keeps as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_text(path: Path) -> str:
    """Read a text file without its byte order mark.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in the encoding of its mark, or not UTF-8 if it has none.
    """
    content = path.read_bytes()
    return content.decode(find_encoding(content))


def read_utf8(path: Path) -> bytes:
    """Read a text file as UTF-8 bytes without a byte order mark; a file without a mark is returned unchanged.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not in the encoding of its mark.
    """
    content = path.read_bytes()
    encoding = find_encoding(content)
    if encoding in {"utf-8", "utf-8-sig"}:  # not decoded here: the parser reports what is not UTF-8
        return content.removeprefix(codecs.BOM_UTF8)
    return content.decode(encoding).encode()
