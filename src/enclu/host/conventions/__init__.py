"""How ECALLs and OCALLs go: one file or folder for each convention.  What they share: `host/convention.py`."""
