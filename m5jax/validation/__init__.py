"""What a prepared catalogue is like, before anything is trained on it."""
