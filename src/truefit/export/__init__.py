"""A run as one file for another runtime, kept only when it is proven to give the same answers."""
