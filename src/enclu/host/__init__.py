"""The host side of enclaves in Python: images, loading, calling, attesting."""
