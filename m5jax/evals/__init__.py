"""Scores of embeddings, and the report."""
