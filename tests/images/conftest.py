"""Small pictures that look like photographs, drawn from seeds."""

import io
import random
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw

MakePhoto = Callable[..., Image.Image]
ToBytes = Callable[..., bytes]


def _make_photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    chance = random.Random(seed)
    ramp = Image.linear_gradient("L").resize((width, height))
    photo = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp.point(lambda v: v // 2)))
    draw = ImageDraw.Draw(photo)
    for _ in range(8):
        left, top = chance.randrange(width), chance.randrange(height)
        color = tuple(chance.randbytes(3))
        draw.ellipse((left, top, left + chance.randrange(4, width), top + chance.randrange(4, height)), fill=color)
    noise = Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
    return Image.blend(photo, noise, 0.08)


def _to_bytes(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """(width=64, height=48, seed=0) → an RGB image of gradients, shapes and noise."""
    return _make_photo


@pytest.fixture(scope="session")
def to_bytes() -> ToBytes:
    """(image, format="JPEG", **options of Pillow) → the bytes of an image file."""
    return _to_bytes
