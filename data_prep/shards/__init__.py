"""Videos or features with annotations to TFDS shards: cache, builder, checks, Beam."""
