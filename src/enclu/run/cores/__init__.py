"""Cores of the processes of a run: at their end by a signal, or asked for from outside.  See docs/cores.md."""
