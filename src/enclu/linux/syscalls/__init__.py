"""System calls whose meaning is the machine's kernel's.

A handler gives the result to finish the call with, or None: the host kernel makes the call as it is.  It neither
finishes a call nor resumes a thread.
"""
