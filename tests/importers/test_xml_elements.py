"""XML documents in many encodings."""

import codecs

import pytest

from tfrec_stage.importers.interface import AnnotationError
from tfrec_stage.importers.xml_elements import parse_xml

BODY = "<annotation>\n<name>{}</name></annotation>"


def declare(encoding, text):
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{BODY.format(text)}'


@pytest.fixture
def parse(tmp_path):
    def parse_content(content):
        (tmp_path / "a.xml").write_bytes(content)
        return parse_xml(tmp_path / "a.xml")

    return parse_content


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("GB2312", "猫"),
        ("GBK", "镕"),  # not in GB2312
        ("GB18030", "𠮷"),
        ("Shift_JIS", "ネコ"),
        ("EUC-JP", "ネコ"),
        ("ISO-2022-JP", "ネコ"),
        ("Big5", "貓"),
        ("EUC-KR", "고양이"),
        ("cp949", "똠"),
        ("KOI8-R", "кот"),
        ("windows-1251", "кот"),
        ("windows-1252", "chaté"),
        ("ISO-8859-1", "chaté"),
        ("latin1", "chaté"),
        ("US-ASCII", "cat"),
        ("UTF-8", "猫"),
        ("utf8", "猫"),
        ("UTF-16", "猫"),
        ("UTF-32", "猫"),
    ],
)
def test_a_document_in_the_encoding_it_declares(parse, encoding, text):
    """A document in any encoding that Python knows is parsed, and lines are those of the file."""
    root = parse(declare(encoding, text).encode(encoding))
    assert (root.find_text("name"), root.find("name").line) == (text, 3)


@pytest.mark.parametrize(
    "content",
    [
        BODY.format("猫").encode(),
        codecs.BOM_UTF8 + declare("GBK", "猫").encode(),  # the mark takes precedence over the declaration
        declare("GBK", "猫").encode("utf-16"),
        declare("GBK", "猫").encode("utf-16-le"),
        declare("GBK", "猫").encode("utf-16-be"),
        BODY.format("猫").encode("utf-16"),
        declare("utf-16", "猫").encode(),  # as .NET writes it
    ],
)
def test_the_first_bytes_take_precedence_over_the_declaration(parse, content):
    """The first bytes take precedence over the declared encoding, which may be wrong."""
    assert parse(content).find_text("name") == "猫"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            declare("x-none", "cat").encode(),
            "expected an encoding that Python knows, but got 'x-none'; save it as UTF-8",
        ),
        (declare("rot13", "cat").encode(), "expected an encoding that Python knows, but got 'rot13'; save it as UTF-8"),
        (declare("undefined", "cat").encode(), "expected text in undefined, but: .*; save it as UTF-8"),
        (declare("GB2312", "猫").encode(), "expected text in gb2312, but: .*; save it as UTF-8"),
        (declare("utf-7", "+2AA-").encode(), "expected text in utf-7, but: .*; save it as UTF-8"),  # a lone surrogate
        (b"\xff\xfe\x00", "expected text in utf-16, but: .*; save it as UTF-8"),
        (b"", "expected XML, but: no element found: line 1, column 0"),
        (
            '<?xml version="1.0" encoding="GBK"?>\n<!DOCTYPE a [<!ENTITY x "猫">]><a>&x;</a>'.encode("gbk"),
            "expected no entities, but 'x' is declared",
        ),
    ],
)
def test_a_document_that_cannot_be_parsed_is_a_problem(parse, content, message):
    """A document in an unknown or wrong encoding, or with entities, is one problem."""
    with pytest.raises(AnnotationError, match=f"^{message}$"):
        parse(content)
