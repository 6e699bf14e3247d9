"""What a trained model is asked beyond its scores: which products, from which modalities, and what would help."""
