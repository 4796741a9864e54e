"""A hostile host, made systematic: an enclave's calls interrupted everywhere, and its borders tried one by one."""
