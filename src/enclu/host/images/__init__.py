"""Readers of enclave images."""
