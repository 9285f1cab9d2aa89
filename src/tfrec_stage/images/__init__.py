"""Image files → JPEGs that TensorFlow decodes, or the reason why not."""
