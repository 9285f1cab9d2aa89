"""TFRecord files without TensorFlow: Example messages, frames, and the files that hold them, compressed or not."""
