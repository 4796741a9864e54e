"""What a trace tells about where a program's time goes, and what to do about it."""
