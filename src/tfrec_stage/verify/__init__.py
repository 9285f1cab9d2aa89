"""Verify that shards are what their build promised: read back by TensorFlow, counted, and compared with the manifest.

shards.py ──▶ files ──frames.py──▶ payloads ──parsing.py──▶ columns ──contents.py, annotations.py, images.py──▶ findings
└──▶ counts and record_index.py (ids, locations) ──cross_checks.py, metadata_files.py, manifest.py──▶ findings
"""
