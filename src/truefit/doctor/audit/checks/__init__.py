"""The checks of the audit, one file each; see `audit/check.py`."""
