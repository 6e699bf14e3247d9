"""The tables of the SCALE paper as series of runs."""
