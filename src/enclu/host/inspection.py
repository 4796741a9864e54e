"""What there is to say about an enclave image: for `enclu inspect`, and for programs as a dictionary."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enclu.host import signing
from enclu.host.images import Image, Region
from enclu.host.images.image import Finding
from enclu.host.images.regions import ALL_MEASURED, NOT_MEASURED
from enclu.sgx import xsave
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import EXINFO, GPRSGX, MISC_EXINFO, SIGSTRUCT, TCS, TCS_AEXNOTIFY, TCS_DBGOPTIN, Attribute

XFRM_NAMES = {component.value: component.title for component in xsave.Component} | {11: "CET_U", 12: "CET_S"}
MISC_NAMES = {0: "EXINFO", 1: "CPINFO"}
WRITE_EXECUTE = 6
SSA_TAIL = GPRSGX.size + EXINFO.size
"""What is in an SSA frame behind the XSAVE area, at its end."""
PUBLIC_SIGNERS = {
    "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e": "the Intel SDK's samples",
    "ca9ad7331448980aa28890ce73e433638377f179ab4456b2fe237193193a8d0a": "Open Enclave's debug signing",
}
"""MRSIGNER of private keys that everybody has."""


@dataclass(frozen=True)
class Thread:
    """A TCS."""

    offset: int
    flags: int
    entry: int
    ssa: int
    frames: int
    fs: int
    gs: int


class Inspection:
    """An image, looked at.  Raises ImageError where the image does."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.mrenclave = image.mrenclave()
        self.regions = _merged(image.regions())
        self.threads = list(_threads(image))
        self.sigstruct = SIGSTRUCT.unpack(image.sigstruct) if image.sigstruct is not None else None
        self.problems = signing.verify(image.sigstruct, self.mrenclave) if image.sigstruct is not None else []
        """What is wrong with the SIGSTRUCT."""

    @property
    def mrsigner(self) -> str | None:
        return signing.mrsigner(self.image.sigstruct).hex() if self.image.sigstruct is not None else None

    @functools.cached_property
    def added(self) -> int:
        """Bytes of pages."""
        return sum(r.size for r in self.regions if r.added)

    @functools.cached_property
    def measured(self) -> int:
        """Bytes of pages' contents that are measured."""
        return sum(r.size * r.measured.bit_count() // 16 for r in self.regions if r.added)

    @property
    def attributes(self) -> int:
        return int(self.sigstruct["ATTRIBUTES"]) if self.sigstruct else self.image.attributes

    def findings(self) -> list[Finding]:
        """Weaknesses first."""
        found = [*self._of_the_signature(), *self._of_the_pages(), *self.image.findings()]
        return sorted(found, key=lambda finding: not finding.serious)

    def _of_the_signature(self) -> Iterator[Finding]:
        f = self.sigstruct
        if f is None:
            yield Finding("unsigned", True, f"there is no SIGSTRUCT, which EINIT needs: {self.image.how_to_sign()}")
            return
        for problem in self.problems:
            yield Finding("signature", True, problem)
        if not f["ATTRIBUTEMASK"] & Attribute.DEBUG:
            yield Finding("debug", True, "may be run as a debug enclave: debuggers then read and write all of it")
        elif f["ATTRIBUTES"] & Attribute.DEBUG:
            yield Finding("debug", True, "always a debug enclave: debuggers read and write all of it")
        if self.mrsigner in PUBLIC_SIGNERS:
            whose = PUBLIC_SIGNERS[self.mrsigner]
            yield Finding("signer", True, f"signed with the key of {whose}, which everybody has")
        if not f["ATTRIBUTES"] & Attribute.KSS:
            yield Finding("kss", False, "no KSS: keys cannot be bound to CONFIGID, family or extended product")
        if f["ATTRIBUTES"] & Attribute.PROVISIONKEY:
            yield Finding("provisioning", False, "may use the provisioning key, which identifies the processor")
        if f["ISVSVN"] == 0:
            yield Finding("svn", False, "ISVSVN is 0; raise it with every security fix")

    def _of_the_pages(self) -> Iterator[Finding]:
        added = [r for r in self.regions if r.added]
        for region in added:
            if region.flags & WRITE_EXECUTE == WRITE_EXECUTE:
                yield Finding("writable code", True, f"{region.name} at {region.offset:#x}: {region.size // PAGE_SIZE} "
                              "pages are writable and executable")  # fmt: skip
            if region.measured == NOT_MEASURED and region.flags & 4:
                yield Finding("unmeasured code", True, f"{region.name} at {region.offset:#x}: executable, not measured")
            if region.measured not in (ALL_MEASURED, NOT_MEASURED):
                yield Finding("partly measured", False, f"{region.name} at {region.offset:#x}: pages are measured in "
                              "part; Linux's driver measures whole pages only")  # fmt: skip
        unmeasured = sum(r.size for r in added if r.measured == NOT_MEASURED)
        if unmeasured:
            yield Finding("unmeasured", False, f"{unmeasured // PAGE_SIZE} pages are added unmeasured (usual for heaps)"
                          ": whoever loads the enclave chooses their contents")  # fmt: skip
        if not self.threads:
            yield Finding("no TCS", True, "nothing can be entered: there is no TCS")
        if any(thread.flags & TCS_DBGOPTIN for thread in self.threads):
            yield Finding("DBGOPTIN", False, "a TCS has DBGOPTIN set: breakpoints and single steps work inside it")
        room = self.image.ssa_frame_size * PAGE_SIZE
        xfrm = self._least_xfrm()
        needed = xsave.INTEL.size_of(xfrm) + SSA_TAIL
        if needed > room:
            yield Finding("SSA", True, f"SSA frames have {room:#x} bytes, XFRM {xfrm:#x} needs {needed:#x}")
        if any(thread.frames < 2 for thread in self.threads):
            yield Finding("SSA", False, "a TCS has one SSA frame: the enclave can handle no exception of its own")
        if not self.image.misc_select & MISC_EXINFO:
            yield Finding("EXINFO", False, "no MISCSELECT.EXINFO: #PF and #GP are not told to the enclave's handler")

    def _least_xfrm(self) -> int:
        """The XFRM that it cannot do without: a loader chooses what its SIGSTRUCT leaves open."""
        if self.image.sigstruct is None:
            return self.image.xfrm
        f = SIGSTRUCT.unpack(self.image.sigstruct)
        return int(f["XFRM"] & f["XFRMMASK"]) | xsave.LEGACY

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        image, f = self.image, self.sigstruct
        return {
            "file": str(image.path), "format": image.format, "mrenclave": self.mrenclave.hex(), "size": image.size,
            "added": self.added, "measured": self.measured, "ssa_frame_size": image.ssa_frame_size,
            "attributes": attribute_names(self.attributes), "xfrm": bit_names(image.xfrm, XFRM_NAMES),
            "misc_select": bit_names(image.misc_select, MISC_NAMES), "details": image.details(),
            "sigstruct": None if f is None else {
                "valid": not self.problems, "problems": self.problems, "mrenclave": f["ENCLAVEHASH"].hex(),
                "mrsigner": self.mrsigner, "product": f["ISVPRODID"], "svn": f["ISVSVN"], "vendor": f["VENDOR"],
                "date": f"{f['DATE']:08x}", "family": f["ISVFAMILYID"].hex(),
                "extended_product": f["ISVEXTPRODID"].hex(), "attributes": f["ATTRIBUTES"],
                "attribute_mask": f["ATTRIBUTEMASK"], "xfrm": f["XFRM"], "xfrm_mask": f["XFRMMASK"],
                "misc_select": f["MISCSELECT"], "misc_mask": f["MISCMASK"],
            },
            "threads": [vars(thread) for thread in self.threads],
            "layout": [
                {"name": r.name, "offset": r.offset, "size": r.size, "type": type_name(r), "rights": r.rights,
                 "measured": r.measured.bit_count() / 16 if r.added else 0, "added": r.added}
                for r in self.regions
            ],
            "findings": [vars(finding) for finding in self.findings()],
        }  # fmt: skip


def attribute_names(attributes: int) -> list[str]:
    return bit_names(attributes, {flag.bit_length() - 1: flag.name or "" for flag in Attribute})


def bit_names(value: int, names: dict[int, str]) -> list[str]:
    return [names.get(bit, f"bit {bit}") for bit in range(value.bit_length()) if value >> bit & 1]


def type_name(region: Region) -> str:
    """TCS or REG; empty for guard pages.  An image may keep addresses free for what no page can be: then the number."""
    if not region.flags:
        return ""
    return {int(PageType.TCS): "TCS", int(PageType.REG): "REG"}.get(region.page_type, str(region.page_type))


def _merged(regions: Iterator[Region]) -> list[Region]:
    """Neighbours that differ only in their contents, together."""
    found: list[Region] = []
    for r in regions:
        last = found[-1] if found else None
        same = last and (last.name, last.flags, last.measured, last.added) == (r.name, r.flags, r.measured, r.added)
        if last and same and last.offset + last.size == r.offset:
            found[-1] = Region(r.name, last.offset, last.size + r.size, r.flags, r.measured, added=r.added)
        else:
            found.append(Region(r.name, r.offset, r.size, r.flags, r.measured, added=r.added))
    return found


def _threads(image: Image) -> Iterator[Thread]:
    for region in image.regions():
        if region.added and region.page_type == PageType.TCS:
            for run in region.pages():
                for at in range(0, len(run.data), PAGE_SIZE):
                    f = TCS.unpack(run.data[at : at + PAGE_SIZE])
                    flags = f["FLAGS"] & (TCS_DBGOPTIN | TCS_AEXNOTIFY)
                    yield Thread(run.offset + at, flags, f["OENTRY"], f["OSSA"], f["NSSA"], f["OFSBASE"], f["OGSBASE"])
