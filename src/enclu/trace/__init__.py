"""Tools that show what happened in a run."""
