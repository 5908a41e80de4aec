"""Training state: what it is, when it is saved, how it lies on the disk. Nothing else reads or writes it."""
