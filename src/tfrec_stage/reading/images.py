"""Stored images → pixels, and images that are not stored → what shards would hold of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tfrec_stage.images.encode import encode_image
from tfrec_stage.images.file import read_image_file
from tfrec_stage.images.policy import ImagePolicy, Verify

_POLICY: Final = ImagePolicy(verify=Verify.structure)
"""As builds have it by default, but for the proof: the decoder that comes next gives it."""


def decode_image(tf: Any, encoded: Any, image_size: tuple[int, int] | None, antialias: bool = False) -> Any:
    """Pixels of one image.

    Args:
        tf: TensorFlow.
        encoded: the JPEG (or PNG), a string tensor of shape ().
        image_size: height and width to resize to, whatever the proportions; None leaves it as it is.
        antialias: whether to filter before that.

    Returns:
        RGB, uint8 of shape (height, width, 3).
    """
    pixels = tf.io.decode_jpeg(encoded, channels=3)
    if image_size is None:
        return pixels
    resized = tf.image.resize(pixels, image_size, antialias=antialias)  # float, and a little beyond 0 to 255
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def image_loader(tf: Any, images_root: Path) -> Callable[[Any, Any, Any, Any], Any]:
    """What gives the stored image of a record, or reads its file where none is stored.

    A file becomes what `store_images: true` would have stored: an upright RGB JPEG, so boxes and parts fit it.

    Returns:
        A function of `image/encoded`, `image/filename`, `image/height` and `image/width`, for use in `Dataset.map`. An
        image that cannot be read raises `tf.errors.UnknownError` with the reason.
    """

    def read(encoded: bytes, filename: bytes, height: int, width: int) -> bytes:
        if encoded:
            return encoded
        # The size tells whether annotations were made on the upright frame or on the one stored in the file.
        content = read_image_file(images_root / os.fsdecode(filename))
        return encode_image(content, _POLICY, declared=(int(width), int(height))).data

    def load(encoded: Any, filename: Any, height: Any, width: Any) -> Any:
        image = tf.numpy_function(read, [encoded, filename, height, width], tf.string, stateful=False)
        return tf.ensure_shape(image, [])

    return load
