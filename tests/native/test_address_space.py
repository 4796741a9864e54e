"""What is known of a program's memory, and when it is forgotten."""

from typing import Any

from enclu.base.abi import NR
from enclu.linux.vdso import image
from enclu.native.address_space import AddressSpace


def test_a_change_of_protections_forgets_the_sites_of_enclu_in_it_and_no_others() -> None:
    calls: list[tuple[int, ...]] = []

    def inject(space: AddressSpace, nr: int, *arguments: int, **named: Any) -> int:
        calls.append((nr, *arguments))
        return 0

    space = AddressSpace(1, image.load("vdso"), inject)
    space.enclu_sites.update((0xFFF, 0x1000, 0x2FFF, 0x3000))
    space.protect(0x1000, 0x3000, 1)
    assert calls == [(NR["mprotect"], 0x1000, 0x2000, 1)]
    assert space.enclu_sites == {0xFFF, 0x3000}
