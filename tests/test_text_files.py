"""Text files are read in the encoding that their byte order mark names."""

import codecs
from pathlib import Path

import pytest

from tfrec_stage.dataset_info import Label, read_labels, write_labels
from tfrec_stage.text_files import read_text, read_utf8


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", b""),
        (b"\xc3\xa4\r\n", b"\xc3\xa4\r\n"),
        (b"\xe4", b"\xe4"),  # not UTF-8, but without a mark it is not decoded
        (codecs.BOM_UTF8 + b"\xc3\xa4", b"\xc3\xa4"),
        (codecs.BOM_UTF16_LE + b"\xe4\0", b"\xc3\xa4"),
        (codecs.BOM_UTF16_BE + b"\0\xe4", b"\xc3\xa4"),
        (codecs.BOM_UTF32_LE + b"\xe4\0\0\0", b"\xc3\xa4"),
        (codecs.BOM_UTF32_BE + b"\0\0\0\xe4", b"\xc3\xa4"),
    ],
)
def test_the_mark_names_the_encoding(tmp_path: Path, content: bytes, text: bytes) -> None:
    """`read_utf8` returns UTF-8 without the mark."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert read_utf8(path) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_without_its_mark(tmp_path: Path, encoding: str) -> None:
    """`read_text` returns the text without the mark, and keeps line ends."""
    path = tmp_path / "a.txt"
    path.write_bytes("ä\r\n".encode(encoding))
    assert read_text(path) == "ä\r\n"


def test_text_without_a_mark_is_utf8(tmp_path: Path) -> None:
    """Without a mark, bytes that are not UTF-8 are an error; no encoding is guessed."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xe4")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)


def test_labels_may_have_a_mark(tmp_path: Path) -> None:
    """A labels.json that was saved as UTF-16, as on Windows, is read."""
    path = tmp_path / "labels.json"
    write_labels(path, (Label(0, "cat"),))
    text = path.read_text()
    path.unlink()
    path.write_text(text, encoding="utf-16")
    assert read_labels(path) == (Label(0, "cat"),)
