"""A file that may be an enclave image, with what the user says about it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from enclu.base import files
from enclu.host.images.elf_file import MAGIC, ElfFile
from enclu.host.images.regions import ImageError
from enclu.sgx.structs import SIGSTRUCT


@dataclass(frozen=True)
class Source:
    """`data` is all of the file; writes to it stay in memory."""

    path: Path
    data: memoryview
    sigstruct: bytes | None = None
    """The SIGSTRUCT that the user names."""
    metadata_version: tuple[int, int] | None = None
    """The version of the metadata that the user wants, where there are several."""

    @functools.cached_property
    def elf(self) -> ElfFile | None:
        """The file as an ELF file, None if it is none.  Raises ImageError for damaged ones."""
        return ElfFile(self.path, self.data) if self.data[:4] == MAGIC else None

    def sigstruct_beside(self) -> bytes | None:
        """For formats without a place for it: the user's SIGSTRUCT, or that in FILE.sig (NAME.sig for NAME.sgxs)."""
        if self.sigstruct is not None:
            return self.sigstruct
        named = self.path.name + ".sig", *((self.path.stem + ".sig",) if self.path.suffix == ".sgxs" else ())
        there = (candidate for candidate in map(self.path.with_name, named) if candidate.exists())
        return next(map(read_sigstruct, there), None)


def read_sigstruct(path: Path) -> bytes:
    """The SIGSTRUCT in a file.  Raises ImageError."""
    try:
        data = files.read_named(path, SIGSTRUCT.size)
    except files.TooLarge:
        data, size = b"", f"more than {SIGSTRUCT.size}"
    except OSError as error:
        raise ImageError(path, "SIGSTRUCT", "unreadable", error.strerror or str(error)) from None
    else:
        size = str(len(data))
    if len(data) != SIGSTRUCT.size:
        raise ImageError(path, "size of the file", size, f"a SIGSTRUCT has {SIGSTRUCT.size} bytes")
    return data
