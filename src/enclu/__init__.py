"""enclu: an Intel SGX machine in software."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from enclu import attestation as attestation
    from enclu.host import edl as edl
    from enclu.host.conventions.sdk import SdkError as SdkError
    from enclu.host.conventions.sdk import SgxStatus as SgxStatus
    from enclu.host.enclave import Enclave as Enclave
    from enclu.host.errors import EnclaveTimeout as EnclaveTimeout
    from enclu.host.errors import HostError as HostError
    from enclu.host.errors import ProcessDied as ProcessDied
    from enclu.host.events import Action as Action
    from enclu.host.events import EnclaveException as EnclaveException
    from enclu.host.frames import Registers as Registers
    from enclu.host.images import open_image as open_image
    from enclu.host.machine import Machine as Machine
    from enclu.host.process import Process as Process
    from enclu.host.steps import Move as Move
    from enclu.host.steps import PageFault as PageFault
    from enclu.host.steps import RunTo as RunTo
    from enclu.host.steps import Skip as Skip
    from enclu.host.steps import Step as Step
    from enclu.host.steps import StepTrace as StepTrace

__version__ = "0.1.0"


def include_dir() -> Path:
    """Where enclu_sgx.h is: a directory for the C compiler's -I, for programs that use enclu's own ioctls."""
    from pathlib import Path

    return Path(__file__).resolve().parent / "include"


def enclave_dir() -> Path:
    """Where the C files are that enclaves are made of; `enclu build` compiles them with a user's own."""
    from pathlib import Path

    return Path(__file__).resolve().parent / "enclave"


_EXPORTS = {
    "Machine": "machine", "Process": "process", "Enclave": "enclave", "open_image": "images",
    "HostError": "errors", "ProcessDied": "errors", "EnclaveTimeout": "errors",
    "SdkError": "conventions.sdk", "SgxStatus": "conventions.sdk",
    "Action": "events", "EnclaveException": "events", "Registers": "frames",
    "Move": "steps", "PageFault": "steps", "RunTo": "steps", "Skip": "steps", "Step": "steps", "StepTrace": "steps",
}  # fmt: skip
"""Names of the Python API and the modules of `enclu.host` that have them."""

_MODULES = {"attestation": "enclu.attestation", "edl": "enclu.host.edl"}
"""Modules that are found here without being imported."""


def __getattr__(name: str) -> object:
    """Imported when first used: the command line, and the supervisor in it, shall start fast."""
    import importlib

    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _EXPORTS:
        raise AttributeError(f"module 'enclu' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"enclu.host.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
