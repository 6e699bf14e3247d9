"""Records on disk, and batches made of them: a batch is a function of seed and step."""
