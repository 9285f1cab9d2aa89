"""Bytes ↔ values: Example messages, TFRecord frames and the files that hold them, without TensorFlow."""
