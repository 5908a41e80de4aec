"""One training from beginning to end: `fit.py` is the sequence, the other files each have one part of it."""
