"""The user side of SGX in Python: enclave images, measuring, signing, entering, attestation."""
