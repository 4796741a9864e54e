"""The user side in Python: enclave images, processes with enclaves, ECALLs and OCALLs."""
