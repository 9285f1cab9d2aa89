"""Parse XML into elements that know their line; documents that declare entities are refused."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from tfrec_stage.importers.interface import LARGEST_PX, AnnotationError
from tfrec_stage.text_files import find_encoding

_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_OF_EXPAT: Final = frozenset({"utf-8", "iso-8859-1", "us-ascii"})
"""Encodings left to the parser, which knows none of those of East Asia."""
_UNMARKED: Final = ((b"<\0?\0", "utf-16-le"), (b"\0<\0?", "utf-16-be"))
"""First bytes of a declaration in UTF-16 without a byte order mark. Source: XML 1.0, appendix F."""


@dataclass(slots=True)
class Element:
    """One element of a document."""

    tag: str
    """Its name."""
    line: int
    """Line of its start tag, from 1."""
    text: str = ""
    """All text directly inside it, stripped."""
    children: list["Element"] = field(default_factory=list)
    """The elements directly inside it."""

    def find_all(self, tag: str) -> list["Element"]:
        """Return the children with that name."""
        return [child for child in self.children if child.tag == tag]

    def find_text(self, tag: str, default: str = "") -> str:
        """Return the text of the first child with that name."""
        return next((child.text for child in self.find_all(tag)), default)

    def find(self, tag: str) -> "Element":
        """Give the first child of that name.

        Raises:
            AnnotationError: there is none.
        """
        for child in self.find_all(tag):
            return child
        raise AnnotationError(f"expected <{tag}> in <{self.tag}>", self.line)

    def find_number(self, tag: str) -> float:
        """Give the number in the first child of that name.

        Raises:
            AnnotationError: there is no such child, or no number of a reasonable size in it.
        """
        child = self.find(tag)
        try:
            number = float(child.text)
        except ValueError:
            number = math.nan
        if not abs(number) < LARGEST_PX:
            raise AnnotationError(f"expected a number in <{tag}>, but got {child.text!r}", child.line)
        return number


def parse_xml(path: Path) -> Element:
    """Read a document.

    It may be in any encoding that Python knows. Entities are refused: a few lines of them can expand to gigabytes.

    Raises:
        OSError: the file cannot be read.
        AnnotationError: it is no XML, is not in the encoding that it declares, or declares entities.
    """
    content, encoding = _decode(path.read_bytes())
    parser = expat.ParserCreate(encoding)
    stack = [Element("", 0)]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_tag: str) -> None:
        element = stack.pop()
        element.text = element.text.strip()

    def add_text(text: str) -> None:
        stack[-1].text += text

    def refuse_entity(name: str, *_rest: Any) -> None:
        raise AnnotationError(f"expected no entities, but {name!r} is declared", parser.CurrentLineNumber)

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add_text
    parser.EntityDeclHandler = refuse_entity
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise AnnotationError(f"expected XML, but: {error}", error.lineno) from error
    return stack[0].children[0]


def _decode(content: bytes) -> tuple[bytes, str]:
    """Return a document in a form that the parser accepts, and its encoding then."""
    declared = _DECLARED.match(content)
    stated = declared[1].decode().lower() if declared else "utf-8"
    if stated.startswith(
        "utf-16"
    ):  # some programs write this; the declaration was readable byte by byte, so it is not UTF-16
        stated = "utf-8"
    stated = next((name for start, name in _UNMARKED if content.startswith(start)), stated)
    encoding = find_encoding(content, stated)  # a byte order mark overrides the declaration
    if encoding in _OF_EXPAT:
        return content, encoding
    try:
        return content.decode(encoding).encode(), "utf-8"
    except LookupError:
        raise AnnotationError(
            f"expected an encoding that Python knows, but got {encoding!r}; save it as UTF-8"
        ) from None
    except UnicodeError as error:
        raise AnnotationError(f"expected text in {encoding}, but: {error}; save it as UTF-8") from None
