"""Images of a `tf.data.Dataset`: decode stored ones, and load from files those that are not stored."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tfrec_stage.images.encode import encode_image
from tfrec_stage.images.file import read_image_file
from tfrec_stage.images.policy import ImagePolicy, Verify

_POLICY: Final = ImagePolicy(verify=Verify.structure)
"""The default options of a build, except that images are not decoded to verify them: TensorFlow decodes them next."""


def decode_image(tf: Any, encoded: Any, image_size: tuple[int, int] | None, antialias: bool = False) -> Any:
    """Pixels of one image.

    Args:
        tf: TensorFlow.
        encoded: the JPEG (or PNG), a string tensor of shape ().
        image_size: height and width in pixels to resize to, without keeping the proportions; None does not resize.
        antialias: whether to filter when an image becomes smaller.

    Returns:
        RGB, uint8 of shape (height, width, 3).
    """
    pixels = tf.io.decode_jpeg(encoded, channels=3)
    if image_size is None:
        return pixels
    # Resized values are floats that may lie slightly outside 0 to 255, which a plain cast would not clip.
    resized = tf.image.resize(pixels, image_size, antialias=antialias)
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def image_loader(tf: Any, images_root: Path) -> Callable[[Any, Any, Any, Any], Any]:
    """A function that gives the stored image of a record, or reads its file if none is stored.

    A file is converted to what `store_images: true` would have stored, an upright RGB JPEG, so boxes and parts fit it.

    Args:
        tf: TensorFlow.
        images_root: folder that relative names of image files start from.

    Returns:
        A function of `image/encoded`, `image/filename`, `image/height` and `image/width`, for use in `Dataset.map`. If
        an image cannot be read it raises `tf.errors.UnknownError` with the reason.
    """

    def read(encoded: bytes, filename: bytes, height: int, width: int) -> bytes:
        if encoded:
            return encoded
        # The size shows whether annotations were made on the upright frame or on the frame in the file.
        content = read_image_file(images_root / os.fsdecode(filename))
        return encode_image(content, _POLICY, declared=(int(width), int(height))).data

    def load(encoded: Any, filename: Any, height: Any, width: Any) -> Any:
        image = tf.numpy_function(read, [encoded, filename, height, width], tf.string, stateful=False)
        return tf.ensure_shape(image, [])  # numpy_function loses the shape

    return load
