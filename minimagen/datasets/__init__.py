"""From shards to batches: curation, cropping, and captioned pictures in memory."""
