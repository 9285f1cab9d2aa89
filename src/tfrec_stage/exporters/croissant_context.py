"""What the short names in a Croissant file stand for.

Source: the `@context` that https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html recommends to every file,
and that its checker compares with.
"""

from typing import Any, Final

_OF_CROISSANT: Final = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
_JSON: Final = {"data": "cr:data", "examples": "cr:examples"}

CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{name: {"@id": term, "@type": "@json"} for name, term in _JSON.items()},
    **{name: f"cr:{name}" for name in _OF_CROISSANT},
}
