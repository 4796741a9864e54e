"""An SGX machine for processes with enclaves."""

from __future__ import annotations

import os
from typing import Self

from enclu.host import forks
from enclu.host.enclave import EnclaveMachine
from enclu.host.errors import HostError
from enclu.host.process import Process
from enclu.linux.intel_cpu import CPUS
from enclu.run import host_memory
from enclu.sgx.epc import size_of


class Machine(EnclaveMachine):
    """A machine and its keys; its processes share them, so that their enclaves attest to and unseal for each other.

    `epc` is the size of the EPC, in bytes or as `enclu run --epc` has it; every process has one of its own.  The
    default is large, for evictions take longer than all else about a page.  A machine with a `name` keeps its keys
    for later runs, others get new ones.  A context manager: its processes end with it.  Raises HostError.
    """

    def __init__(self, epc: int | str | None = None, name: str | None = None) -> None:
        try:
            self.epc = host_memory.default_epc() if epc is None else size_of(str(epc))
            host_memory.check_epc(self.epc)
        except ValueError as error:
            raise HostError(str(error)) from None
        super().__init__(name)
        self._started: list[Process] = []
        self._owner = forks.generation()

    @property
    def processes(self) -> list[Process]:
        """Those that are not closed."""
        return [process for process in self._started if not process.closed]

    def process(
        self, delivery: str = "vdso", cpu: str = "host", *, trace: str | os.PathLike[str] | None = None,
        stepping: bool = False,
    ) -> Process:  # fmt: skip
        """Start a process under a delivery design, on a processor as `enclu run --cpu` has it.  Raises HostError.

        `trace` is a file for what happens in it, as `enclu run --trace` writes it; `stepping` has its enclaves be
        stepped through (`Enclave.stepping`), which makes transitions slow.
        """
        if self._owner != forks.generation():
            raise HostError("the machine belongs to the process of which this one is a fork: make one of its own here")
        if cpu not in CPUS:
            raise HostError(f"no processor is called {cpu!r}: {', '.join(CPUS)}")
        reading, writing = os.pipe()
        try:
            os.write(writing, self.secret)
            os.close(writing)
            options = ["--epc", str(self.epc), "--secret-fd", str(reading), "--cpu", cpu]
            if trace is not None:
                options += ["--trace", os.fspath(trace)]
            if stepping:
                options.append("--stepping")
            process = Process(self, delivery, options, pass_fds=(reading,))
        finally:
            os.close(reading)
        self._started = [*self.processes, process]
        return process

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self.processes):
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
