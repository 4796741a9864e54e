"""The Python host: loads, measures, signs and enters enclaves."""
