"""Manifest → shards and the files beside them."""
