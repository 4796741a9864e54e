"""Mistakes on purpose in what stands for the kernel's driver: words of a function, and the case that is about them."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from enclu.linux import add_pages, ioctl, ioctl_sgx2, mm
from enclu.linux.syscalls import memory
from enclu.run.device_files import DeviceFiles


@dataclass(frozen=True)
class Rewritten:
    """A function that says `wrong` where it should say `right`."""

    case: str
    """The case of `enclu conform` that finds it."""
    places: tuple[Any, ...]
    """The module or class that has the function, and the modules that have imported it."""
    name: str
    right: str
    wrong: str

    def make(self) -> None:
        """Put the wrong function in the right one's place."""
        function = getattr(self.places[0], self.name)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.right) == 1, f"{self.name} does not say once {self.right!r}"
        made: dict[str, Any] = {}
        exec(source.replace(self.right, self.wrong), vars(inspect.getmodule(function)), made)
        for place in self.places:
            setattr(place, self.name, made[self.name])


@dataclass(frozen=True)
class Valued:
    """A constant that is wrong."""

    case: str
    module: ModuleType
    name: str
    wrong: Any

    def make(self) -> None:
        setattr(self.module, self.name, self.wrong)


_CREATE = (ioctl,), "_create"
_INIT = (ioctl,), "_init"
_ADD = (add_pages, ioctl), "add_pages"
_MAP = (memory.MemoryCalls,), "_map_enclave"
_CHECK = (mm, memory), "check_mmap"

MISTAKES: dict[str, Rewritten | Valued] = {
    "create_reads_before_it_looks": Rewritten(
        "create/a second time, argument nowhere", *_CREATE, "if encl.created:",
        "if user.read(arg, 8) and encl.created:"),
    "create_leaves_powers_to_ecreate": Rewritten(
        "create/SIZE 0, and everything else wrong", *_CREATE, "if not size or size & (size - 1):", "if False:"),
    "create_knows_files_of_any_size": Rewritten(
        "create/SIZE 2^63, and everything else wrong", *_CREATE, "if size >> 63:", "if False:"),
    "add_takes_sources_of_enclaves": Rewritten(
        "add-pages/a source that is a page of another enclave", *_ADD, "if vma is not None)", "if False)"),
    "add_reads_secinfo_first": Rewritten(
        "add-pages/source not of pages, SECINFO nowhere", *_ADD, 'if f["src"] & 0xFFF:',
        'if user.read(f["secinfo"], 64) and f["src"] & 0xFFF:'),
    "add_validates_ranges_last": Rewritten(
        "add-pages/length 0, SECINFO nowhere", *_ADD, "    _validate_range(",
        '    user.read(f["secinfo"], 64)\n    _validate_range('),
    "add_looks_at_its_argument_first": Rewritten(
        "add-pages/before CREATE, argument nowhere", *_ADD, "    check_under",
        "    user.read(arg, 48)\n    check_under"),
    "add_writes_nothing_back": Rewritten(
        "add-pages/argument that cannot be written back", *_ADD, "    user.write(", "    0 and user.write("),
    "init_looks_at_its_argument_first": Rewritten(
        "init/before CREATE, argument nowhere", *_INIT, "    check_under", "    user.read(arg, 8)\n    check_under"),
    "init_lets_attributes_come_first": Rewritten(
        "init/VENDOR, and an attribute that was not allowed", *_INIT, "not in (0, 0x8086):",
        "not in (0, 0x8086) and not secs.attributes & ~encl.attributes_mask:"),
    "init_lets_what_is_enforced_come_first": Rewritten(
        "init/an attribute that was not allowed, and one that there is not", *_INIT,
        "if secs.attributes & ~encl.attributes_mask:",
        'if secs.attributes & ~encl.attributes_mask and not f["ATTRIBUTES"] & ~machine.attributes:'),
    "init_knows_one_vendor": Rewritten("init/VENDOR 8086H, which was not signed", *_INIT, "(0, 0x8086)", "(0,)"),
    "init_asks_no_mask": Rewritten(
        "init/ATTRIBUTES has a bit that there is not, which its mask has not either", *_INIT,
        'f["ATTRIBUTES"] & f["ATTRIBUTEMASK"] & ~', 'f["ATTRIBUTES"] & ~'),
    "sgx2_looks_at_its_argument_first": Rewritten(
        "sgx2/REMOVE_PAGES: before INIT, argument nowhere", (ioctl_sgx2,), "_arguments", "if not encl.initialized:",
        "if user.read(arg, 24) and not encl.initialized:"),
    "sgx2_takes_no_failed_argument": Rewritten(
        "sgx2/MODIFY_TYPES: to PT_REG, an argument that cannot be written back", (ioctl_sgx2,), "modify_types",
        "        user.write(", "        0 and user.write("),
    "sgx2_forgets_how_far_it_got": Rewritten(
        "sgx2/REMOVE_PAGES: up to where no page is", (ioctl_sgx2,), "_each", 'f["count"] = done', 'f["count"] = 0'),
    "mmap_takes_offsets_within_pages": Rewritten(
        "mapping/an offset within a page comes before the length", *_MAP, "asked & 0xFFF or ", ""),
    "mmap_tells_lengths_apart_no_more": Rewritten(
        "mapping/length that cannot be rounded up", *_MAP, "errno.ENOMEM if task.regs.rsi else errno.EINVAL",
        "errno.EINVAL"),
    "mmap_asks_the_driver_of_any_length": Rewritten(
        "mapping/length of more than user memory, MAP_PRIVATE", *_MAP, "if length > TASK_SIZE:", "if False:"),
    "mmap_looks_at_pages_before_the_end": Rewritten(
        "mapping/MAP_FIXED in the kernel's half, not of pages", *_MAP, "if address > TASK_SIZE - length:", "if False:"),
    "mmap_asks_the_driver_first": Rewritten(
        "mapping/more than the page allows, MAP_TYPE 0: nothing is unmapped", *_MAP,
        "        check_mmap(encl, length, prot, flags, asked)\n        try:", "        try:"),
    "mmap_leaves_no_gap": Rewritten(
        "mapping/more than the page allows, over it: a gap is left", *_MAP,
        'self._replacing(task, address, length, NR["munmap"], address, length)', "pass"),
    "mmap_takes_the_last_offset": Rewritten("mapping/an offset that no file has", *_CHECK, ">= 1 << 64", "> 1 << 64"),
    "mmap_validates_nothing": Rewritten(
        "mapping/more than the page allows, MAP_SYNC: nothing is unmapped", *_CHECK,
        "if kind == MAP_SHARED_VALIDATE and", "if False and"),
    "mmap_writes_what_was_opened_to_be_read": Rewritten(
        "mapping/opened to be read: mapped to be written", *_CHECK, "if prot & PROT_WRITE and", "if False and"),
    "mmap_needs_no_mode_to_read": Rewritten(
        "mapping/opened for ioctls alone: mapped without access", *_CHECK, "if not encl.f_mode & FMODE_READ:",
        "if False:"),
    "mprotect_writes_what_was_opened_to_be_read": Rewritten(
        "mapping/opened to be read: mprotect to be written", (mm.MM,), "mprotect", "if prot & PROT_WRITE and",
        "if False and"),
    "reads_may_imply_exec": Rewritten(
        "mapping/mprotect by a process with READ_IMPLIES_EXEC", (memory,), "_check_personality",
        "if task.personality &", "if 0 &"),
    "provision_can_be_mapped": Rewritten(
        "mapping//dev/sgx_provision, MAP_PRIVATE", (DeviceFiles,), "opened", "if file in self.provisions:",
        "if False:"),
    "what_is_written_is_not_read": Valued("access/VMA -w-, EPCM r--: read", mm, "GRANTED", list(range(8))),
    "leaves_read_no_page_mapped_to_be_written": Valued(
        "eenter/TCS mapped to be written, and not to be read, is enough", mm, "NEEDS", [1, 0, 2, *[0] * 13, 4]),
}  # fmt: skip
