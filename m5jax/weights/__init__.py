"""Weights of other implementations: names and shapes of theirs to parameters of ours. Never a pickle."""
