"""System calls whose meaning is the machine's kernel's.

Handlers, as `run.intercept` asks them: the result to finish the call with, or None if the host kernel is to make it.
"""
