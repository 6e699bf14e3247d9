"""A catalogue to records, once: plan, shards, and who makes them."""
