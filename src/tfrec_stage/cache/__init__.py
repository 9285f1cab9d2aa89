"""Finished shards and image hashes of earlier builds, kept so that a build makes only what changed."""
