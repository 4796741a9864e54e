"""Attestation: reports, quotes, their certificates, and how to verify them."""
