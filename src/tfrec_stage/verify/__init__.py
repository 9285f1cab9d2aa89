"""What a build promised, proved on what lies on the disk: shards read back by TensorFlow, and counted.

files ──frames.py──▶ payloads ──parsing.py──▶ columns ──contents.py, values.py, images.py──▶ faults
└──▶ ledger (ids, places) ──▶ index, stats, manifest, pins
"""
