"""Text files in the encodings that byte order marks name."""

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
        (b"\xe4", b"\xe4"),  # without a mark nothing is known: whoever reads it says what is wrong
        (codecs.BOM_UTF8 + b"\xc3\xa4", b"\xc3\xa4"),
        (codecs.BOM_UTF16_LE + b"\xe4\0", b"\xc3\xa4"),
        (codecs.BOM_UTF16_BE + b"\0\xe4", b"\xc3\xa4"),
        (codecs.BOM_UTF32_LE + b"\xe4\0\0\0", b"\xc3\xa4"),
        (codecs.BOM_UTF32_BE + b"\0\0\0\xe4", b"\xc3\xa4"),
    ],
)
def test_the_mark_names_the_encoding(tmp_path: Path, content: bytes, text: bytes) -> None:
    """The content comes in UTF-8, without the mark."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert read_utf8(path) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_comes_without_its_mark(tmp_path: Path, encoding: str) -> None:
    """The content comes as text, line ends as they are."""
    path = tmp_path / "a.txt"
    path.write_bytes("ä\r\n".encode(encoding))
    assert read_text(path) == "ä\r\n"


def test_text_without_a_mark_is_utf8(tmp_path: Path) -> None:
    """No other encoding is guessed."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xe4")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)


def test_labels_may_have_a_mark(tmp_path: Path) -> None:
    """labels.json may have been edited on Windows."""
    path = tmp_path / "labels.json"
    write_labels(path, (Label(0, "cat"),))
    text = path.read_text()
    path.unlink()  # it is never opened for writing
    path.write_text(text, encoding="utf-16")
    assert read_labels(path) == (Label(0, "cat"),)
