"""Image records: one image and its annotations, as manifests and callers write them.

Coordinates are normalised to [0, 1] by the image's width and height, areas by width times height; the origin
is the top left corner. Lists of `object` and `object.bbox` have one entry per object. Lists of
`object.parts` hold the parts (keypoints) of the first object, then of the second, and so on.

Only keys and types are checked here. Values are validated when the image is encoded (`annotations`).
"""

from typing import Annotated, Any, Final

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

MAX_NESTING: Final = 100
"""Maximum depth of lists and objects in `extra`. Python's own limit depends on the depth of the call stack: the same
record would be stored by one thread and fail in another."""


class _StrictStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a record. Unknown keys are errors: a misspelt key must not silently drop annotations."""


class ImageClass(_StrictStruct, frozen=True):
    """The class of the whole image."""

    label: Int64 | str = 0
    """Index of the class, from 0; a string of digits is converted."""
    text: str = ""
    """Name of the class."""
    conf: float = 1.0
    """Confidence of the label, in [0, 1]."""

    def __post_init__(self) -> None:
        if type(self.label) is str:
            msgspec.structs.force_setattr(self, "label", _parse_label(self.label))


class Boxes(_StrictStruct, frozen=True):
    """Bounding boxes: lists with one entry per object."""

    xmin: list[float] = []
    """Left edges, normalised by the width."""
    xmax: list[float] = []
    """Right edges, normalised by the width."""
    ymin: list[float] = []
    """Top edges, normalised by the height."""
    ymax: list[float] = []
    """Bottom edges, normalised by the height."""
    label: list[Int64 | str] = []
    """Index of each object's class, from 0."""
    text: list[str] = []
    """Name of each object's class."""
    score: list[float] = []
    """Score of each box, for example a detector's."""
    conf: list[float] = []
    """Confidence of each label."""

    def __post_init__(self) -> None:
        if str in map(type, self.label):
            msgspec.structs.force_setattr(self, "label", [_parse_label(label) for label in self.label])


class Parts(_StrictStruct, frozen=True):
    """Parts (keypoints) of all objects: those of the first object, then of the second, and so on."""

    x: list[float] = []
    """Positions from the left, normalised by the width."""
    y: list[float] = []
    """Positions from the top, normalised by the height."""
    v: list[Int64] = []
    """Visibility: 0 not in the image, 1 occluded, 2 visible."""
    score: list[float] = []
    """Score of each part, for example a keypoint detector's."""


class Objects(_StrictStruct, frozen=True):
    """The objects in one image."""

    count: Int64 | None = None
    """Number of objects; the number of boxes if missing."""
    area: list[float] = []
    """Area of each object (its box or its segmentation), normalised by width times height."""
    id: list[str | Int64] = []
    """Identifier of each object."""
    is_crowd: list[Int64] = []
    """1 where a box covers a crowd of objects, else 0."""
    bbox: Boxes = Boxes()
    """Bounding boxes."""
    parts: Parts = Parts()
    """Parts, also called keypoints."""

    def __post_init__(self) -> None:
        if int in map(type, self.id):
            msgspec.structs.force_setattr(self, "id", [str(name) for name in self.id])

    @property
    def size(self) -> int:
        """Number of objects: the stated count, or the number of boxes."""
        return len(self.bbox.xmin) if self.count is None else self.count


class ImageRecord(_StrictStruct, frozen=True):
    """One image and its annotations."""

    filename: str
    """Path of the image file, stored as written; relative paths start from `images_root`."""
    id: str | Int64
    """Identifier, unique in its manifest."""
    class_: ImageClass = msgspec.field(name="class", default=ImageClass())
    """The class of the whole image."""
    object: Objects = Objects()
    """The objects in the image."""
    extra: Any = ""
    """A string, or any JSON value (stored as JSON text)."""
    sha256: Sha256 | None = None
    """SHA-256 of the image file in hexadecimal; pins the image: another content fails."""
    height: Size | None = None
    """Height in pixels of the frame that the annotations were made on."""
    width: Size | None = None
    """Width in pixels of the frame that the annotations were made on."""
    encoded: bytes | None = None
    """The image itself; base64 in JSON. The two fields above and the three below are then required."""
    format: str | None = None
    """Format of `encoded`, for example JPEG."""
    colorspace: str | None = None
    """Colour space of `encoded`, for example RGB."""
    channels: Size | None = None
    """Number of channels of `encoded`, for example 3."""
    error_msg: str | None = None
    """Accepted and ignored, so that a list of failures can be fed back in."""
    reason: str | None = None
    """Accepted and ignored, as `error_msg`."""

    def __post_init__(self) -> None:
        # force_setattr, since the record is frozen: here, in `__post_init__`, nobody else has it yet.
        if type(self.id) is not str:
            msgspec.structs.force_setattr(self, "id", str(self.id))
        if type(self.extra) is not str and is_nested_too_deep(self.extra):
            raise ValueError(f"Expected at most {MAX_NESTING} levels of lists and objects in `extra`, but got more")
        if self.encoded is not None:
            needed = ("height", "width", "format", "colorspace", "channels")
            absent = [name for name in needed if getattr(self, name) is None]
            if absent:
                raise ValueError(f"`encoded` needs {', '.join(needed)} as well, but {', '.join(absent)} is absent")

    @property
    def annotated_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the frame that the annotations were made on, if the record states both."""
        return None if self.width is None or self.height is None else (self.width, self.height)


class InvalidRecord(msgspec.Struct, frozen=True):
    """A malformed record that has an id: it fails, whatever its image is."""

    id: str
    """Its identifier, which decides its placement."""
    message: str
    """What is wrong with it, with the paths of the keys."""
    filename: str = ""
    """Path of its image file, if that is text."""
    sha256: None = None
    """It pins no image, since it fails with any."""


ParsedRecord = ImageRecord | InvalidRecord


def is_nested_too_deep(value: Any) -> bool:
    """Whether a value has more than `MAX_NESTING` levels of lists and dicts; iterates over levels instead of recursing.

    >>> is_nested_too_deep([{"a": []}])
    False
    """
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [child for parent in level if type(parent) in (list, tuple, dict) for child in _children(parent)]
        if not level:
            return False
    return True


def _children(parent: Any) -> Any:
    return parent.values() if type(parent) is dict else parent


def _parse_label(label: int | str) -> int:
    try:
        value = int(label)
    except ValueError:
        raise ValueError(f"Expected a label number, or a string of digits, but got {label!r}") from None
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"Expected a label of 64 bits, but got {label!r}")
    return value
