"""Verify shards: read them back with TensorFlow, count them, and compare them with the manifest and metadata files.

shards.py ──▶ files ──frames.py──▶ payloads ──parsing.py──▶ columns ──contents.py, annotations.py, images.py──▶ findings
└──▶ counts and record_index.py (ids, locations) ──cross_checks.py, metadata_files.py, manifest.py──▶ findings
"""
