"""Is B better than A? Tests and intervals of two or more evaluations of the same samples."""
