"""From a seller's bytes to batches: catalogue, media, records, transforms, pipeline."""
