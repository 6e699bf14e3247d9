"""Scored runs side by side, from what their folders hold: no model, no records, and no jax."""
