"""A run behind HTTP: one image in, class probabilities out."""
