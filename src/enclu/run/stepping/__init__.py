"""Enclaves stepped through by the programs that enter them, as SGX-Step does it: ioctls of /dev/sgx_enclave."""
