"""What goes wrong on the host side of enclaves."""


class HostError(Exception):
    """Base of the host's errors; messages name file, field and value."""
