"""The doctor: finds silent bugs in training code. `finding.py` is what every check gives."""
