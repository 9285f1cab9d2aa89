"""Parse XML into elements that know their line; documents that declare entities are rejected.

`xml.etree` keeps no lines, expands entities, and cannot read the multi-byte encodings of East Asia.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from tfrec_stage.importers.interface import LARGEST_PX, AnnotationError
from tfrec_stage.text_files import find_encoding

_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
"""A declaration that names an encoding."""
_EXPAT_ENCODINGS: Final = frozenset({"utf-8", "iso-8859-1", "us-ascii"})
"""Encodings that the parser reads itself; all others are converted for it."""
_UNMARKED: Final = ((b"<\0?\0", "utf-16-le"), (b"\0<\0?", "utf-16-be"))
"""First bytes of a document in UTF-16 without a byte order mark. Source: XML 1.0, appendix F."""


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
        """Return the children with that tag."""
        return [child for child in self.children if child.tag == tag]

    def find_text(self, tag: str, default: str = "") -> str:
        """Return the text of the first child with that tag, else the default."""
        return next((child.text for child in self.find_all(tag)), default)

    def find(self, tag: str) -> "Element":
        """Return the first child with that tag.

        Raises:
            AnnotationError: there is none.
        """
        for child in self.find_all(tag):
            return child
        raise AnnotationError(f"expected <{tag}> in <{self.tag}>", self.line)

    def find_number(self, tag: str) -> float:
        """Return the number in the first child with that tag.

        Raises:
            AnnotationError: there is no such child, or its text is not a number below `LARGEST_PX`.
        """
        child = self.find(tag)
        try:
            number = float(child.text)
        except ValueError:
            number = math.nan
        if not abs(number) < LARGEST_PX:  # also true for NaN
            raise AnnotationError(f"expected a number in <{tag}>, but got {child.text!r}", child.line)
        return number


def parse_xml(path: Path) -> Element:
    """Parse a document in any encoding that Python knows, and return its root element.

    Entities are rejected: a few lines of them can expand to gigabytes.

    Raises:
        OSError: the file cannot be read.
        AnnotationError: it is not XML, is not in the encoding that it declares, or declares entities.
    """
    content, encoding = _decode(path.read_bytes())
    parser = expat.ParserCreate(encoding)  # overrides the declaration, which is wrong after a conversion
    stack = [Element("", 0)]  # the open elements, innermost last; the first one holds the root

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

    parser.buffer_text = True  # text in few pieces
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
    """Return a document in an encoding that the parser reads, and the name of that encoding."""
    declared = _DECLARED.match(content)
    stated = declared[1].decode().lower() if declared else "utf-8"
    if stated.startswith("utf-16"):
        # .NET writes this into UTF-8. It is never true here: a declaration in UTF-16 does not match `_DECLARED`.
        stated = "utf-8"
    stated = next((name for start, name in _UNMARKED if content.startswith(start)), stated)
    encoding = find_encoding(content, stated)  # a byte order mark overrides the declaration
    if encoding in _EXPAT_ENCODINGS:
        return content, encoding
    try:
        return content.decode(encoding).encode(), "utf-8"
    except LookupError:
        raise AnnotationError(
            f"expected an encoding that Python knows, but got {encoding!r}; save it as UTF-8"
        ) from None
    except UnicodeError as error:
        raise AnnotationError(f"expected text in {encoding}, but: {error}; save it as UTF-8") from None
