"""Bytes ↔ values, pure: nothing here opens a file. Encode and decode of a format live in one file."""
