"""What is minimised: pure functions of arrays; every value a (sum, count)."""
