"""Pictures: how an exception leaves an enclave under each design, drawn from traces of a program that has one."""
