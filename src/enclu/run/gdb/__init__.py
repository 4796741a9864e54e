"""A server of gdb's remote serial protocol, for the programs of a run."""
