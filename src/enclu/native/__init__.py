"""The processor: Linux threads under ptrace."""
