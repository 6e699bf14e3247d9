"""One page of HTML that shows a run: scores, curves, neighbours as pictures, and the health of the data."""
