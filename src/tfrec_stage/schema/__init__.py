"""Which keys a record has in a shard, and where their values come from."""
