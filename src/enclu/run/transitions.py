"""Which EENTERs and EEXITs take place in programs' own processes: none, unless `run.in_process` is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from enclu.linux.encl import Encl
    from enclu.linux.mm import MM
    from enclu.native import ptrace
    from enclu.native.address_space import AddressSpace
    from enclu.native.in_process import InProcess
    from enclu.run.task import Task
    from enclu.sgx.epc import EPCPage


class Transitions:
    """Those of one run: each stops its thread."""

    spaces: Sequence[InProcess] = ()
    """What the address spaces have that take part."""

    quick = True
    """Leaves of stopped threads may be executed with less ado than other stops have."""

    @property
    def asks(self) -> bool:
        """They want to be told of leaves that stopped threads execute."""
        return bool(self.spaces)

    # Who takes part.

    def opened(self, task: Task) -> None:
        """The process of the stopped thread uses SGX from now on."""

    def place(self, task: Task) -> None:
        """The thread, in no enclave, has its slot where its process can see it, if there is one."""

    def born(self, parent: Task, task: Task) -> None:
        """A child at its first stop: it has inherited its parent's segment, and a copy of its vDSO perhaps."""

    def withdraw(self, task: Task) -> None:
        """The stopped thread takes part no more."""

    def exec(self, task: Task) -> None:
        """The host kernel has undone all of it."""

    def space_gone(self, space: AddressSpace, mm: MM) -> None:
        """Nobody runs in it any more.  An enclave in it may live on elsewhere."""

    # What stays right.

    def begin_epoch(self, eid: int, epoch: int) -> None:
        """Entries of this enclave that take place in process are in this tracking epoch from now on."""

    def revoke(self, eid: int, pages: Collection[tuple[int, int]] | None = None) -> None:
        """No entry of this enclave, or none that depends on `pages`, takes place in process unless checked anew."""

    def before(self, task: Task, leaf: int) -> None:
        """A stopped thread is about to execute a leaf."""

    def faulted(self, task: Task, leaf: int) -> bool:
        """It has not, for it raised an exception; whether it is to try again, without what was in its way."""
        return False

    def after(self, task: Task, leaf: int, site: int) -> None:
        """A stopped thread has executed a leaf."""

    def emulates(self, task: Task) -> bool:
        """An instruction of an enclave, at which something else stands that has raised #UD, has been executed."""
        return False

    def exception(self, task: Task, info: ptrace.SigInfo) -> bool:
        """The thread, stopped for an exception of its enclave with this siginfo, has been resumed and sees to it.

        False for most, with nothing changed.  Raises ProcessLookupError.
        """
        return False

    def was_enclu(self, task: Task, site: int) -> bool:
        """A jump is at the address where an ENCLU was."""
        return False

    def stepped(self, task: Task) -> bool:
        """The program steps through its code: it is to find its ENCLUs there.

        Whether the instruction that the thread has executed was a jump to an ENCLU, which comes next.
        """
        return False

    def text_changes(self, space: AddressSpace, start: int, end: int) -> None:
        """The vDSO is about to be patched there: jumps of which that is a part are ENCLU again."""

    def give_back(self, eid: int) -> None:
        """Have the enclave's EEXITs be ENCLU again."""

    def leaves_epc(self, pages: Iterable[EPCPage]) -> None:
        """The same of some pages."""

    def give_way(self, space: AddressSpace, start: int, end: int) -> None:
        """The program is about to change what is mapped in [start, end): copies that are there go."""

    def original(self, address: int, data: bytes) -> bytes:
        """What was read of an enclave, with ENCLU where jumps are now."""
        return data

    # Loading.

    def added(self, task: Task, encl: Encl, argument: int) -> None:
        """The stopped thread has added pages by an ioctl with this argument."""

    # Counters.

    def count(self) -> None:
        """Have what was executed in process counted."""

    def gone(self, task: Task) -> None:
        """The thread is no more, and its slot another's from now on."""

    def in_process(self) -> dict[str, int]:
        """Leaves, by name, that were executed in process so far, and how often."""
        return {}

    def by_stops(self) -> list[str]:
        """Why others were not that might have been."""
        return []
