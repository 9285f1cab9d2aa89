"""Verify shards: parse them with TensorFlow, count what they contain, and compare it with metadata files and manifest.

shards.py ──▶ files ──frames.py──▶ payloads ──parsing.py──▶ columns ──contents.py, annotations.py, images.py──▶ findings
└──▶ counts and record_index.py (ids, locations) ──metadata_files.py, manifest.py──▶ findings
"""
