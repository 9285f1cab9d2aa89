"""Verify that shards are what their build promised: read back by TensorFlow, counted, and compared with the manifest.

files ──frames.py──▶ payloads ──parsing.py──▶ columns ──contents.py, annotations.py, images.py──▶ findings
└──▶ record_index.py (ids, locations) ──▶ metadata_files.py, manifest.py, cross_checks.py
"""
