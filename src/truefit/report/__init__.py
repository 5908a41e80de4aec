"""Reports: a run, or several side by side, as one page, a model card, or plots. `build.py` is where to begin."""
