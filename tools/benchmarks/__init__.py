"""What `tools/benchmark.py` measures, and with what."""
