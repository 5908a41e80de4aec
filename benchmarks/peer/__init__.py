"""The same training by each framework, as its documentation shows it: one file a side.

`prepare(images, labels)` takes float images (n, 3, 32, 32) in 0..1 and int64 labels (n,), and returns a function that
trains for one epoch in batches of 64 with Adam at 1e-3, and gives the moments at which its steps began.
"""
