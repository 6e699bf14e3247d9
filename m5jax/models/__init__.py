"""The networks. The only package that knows flax."""
