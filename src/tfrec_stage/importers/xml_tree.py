"""XML elements that know their line; a document that declares entities is refused."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from tfrec_stage.importers.values import AnnotationError


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
        """Give the children of that name."""
        return [child for child in self.children if child.tag == tag]

    def find_text(self, tag: str, default: str = "") -> str:
        """Give the text of the first child of that name."""
        return next((child.text for child in self.find_all(tag)), default)

    def find(self, tag: str) -> "Element":
        """Give the first child of that name.

        Raises:
            AnnotationError: there is none.
        """
        for child in self.find_all(tag):
            return child
        raise AnnotationError(f"expected <{tag}> in <{self.tag}>", self.line)


def parse_xml(path: Path) -> Element:
    """Read a document.

    Entities are refused, for a few lines of them can grow to gigabytes.

    Raises:
        OSError: the file cannot be read.
        AnnotationError: it is no XML or declares entities.
    """
    parser = expat.ParserCreate()
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
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise AnnotationError(f"expected XML, but: {error}", error.lineno) from error
    return stack[0].children[0]
