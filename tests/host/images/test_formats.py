"""A format that is known by one class and one line: all that is done with images is done with its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from enclu.cli.inspect import inspect
from enclu.cli.measure import measure
from enclu.host import images, signing
from enclu.host.images.image import Finding, Image
from enclu.host.images.regions import TCS_FLAGS, Region
from enclu.host.images.source import Source
from enclu.host.places import Places
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.structs import SIGSTRUCT, TCS
from tests.support import enclave_images as made

MAGIC, PLACE = b"FLATFILE", 64
REG_RX = PageType.REG << 8 | 5


class FlatImage(Image):
    """A page of header, with the SIGSTRUCT in it, then pages of code; before them comes a TCS."""

    format = "flat"
    sigstruct_position = PLACE

    @classmethod
    def read(cls, source: Source) -> Self | None:
        return cls(source) if source.data[: len(MAGIC)] == MAGIC else None

    def __init__(self, source: Source) -> None:
        signed = bytes(source.data[PLACE : PLACE + SIGSTRUCT.size])
        super().__init__(source.path, source.sigstruct or (signed if any(signed) else None))
        self._code = source.data[PAGE_SIZE:]
        self.size = 4 * PAGE_SIZE
        self.check_regions()

    def regions(self) -> Iterator[Region]:
        yield Region("TCS", 0, PAGE_SIZE, TCS_FLAGS, content=memoryview(TCS.pack(OENTRY=PAGE_SIZE, NSSA=2)))
        yield Region("code", PAGE_SIZE, len(self._code), REG_RX, content=self._code)

    def findings(self) -> Iterator[Finding]:
        yield Finding("flat", True, "it is flat")

    def details(self) -> dict[str, Any]:
        return {"pages of code": len(self._code) // PAGE_SIZE}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(images, "FORMATS", (FlatImage, *images.FORMATS))
    path = tmp_path / "enclave.flat"
    path.write_bytes(MAGIC.ljust(PAGE_SIZE, b"\0") + b"\x90" * PAGE_SIZE)
    return path


def test_it_is_opened(path: Path) -> None:
    image = images.open_image(path)
    assert (image.format, image.tcs, image.convention) == ("flat", [0], "registers")


def test_it_is_signed_where_it_wants_its_sigstruct(path: Path) -> None:
    image = images.open_image(path)
    signing.write(image, signing.sign(signing.unsigned(image, ISVPRODID=7), made.key()), path)
    signed = images.open_image(path)
    assert signed.sigstruct is not None and signing.verify(signed.sigstruct, signed.mrenclave()) == []
    assert SIGSTRUCT.get(signed.sigstruct, "ISVPRODID") == 7
    assert SIGSTRUCT.get(path.read_bytes(), "ISVPRODID", PLACE) == 7


def test_it_is_measured(path: Path) -> None:
    done = CliRunner().invoke(measure, ["--json", str(path)])
    told = json.loads(done.output)
    assert (done.exit_code, told["format"], told["mrenclave"]) == (0, "flat", images.open_image(path).mrenclave().hex())
    assert told["metadata"] is None and len(told["all"]) == 1


def test_it_is_inspected_in_its_own_words(path: Path) -> None:
    done = CliRunner().invoke(inspect, ["--json", str(path)])
    told = json.loads(done.output)
    assert (done.exit_code, told["details"]) == (0, {"pages of code": 1})
    assert {"name": "flat", "serious": True, "text": "it is flat"} in told["findings"]
    assert [region["name"] for region in told["layout"]] == ["TCS", "code"]


def test_places_in_it_are_told_by_its_regions(path: Path) -> None:
    assert str(Places.of(images.open_image(path)).at(PAGE_SIZE + 5)) == "code+0x5"
