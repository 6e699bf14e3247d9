"""m5jax: pre-trains product encoders from whatever of five modalities a product has."""
