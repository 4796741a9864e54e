"""A hostile host, made systematic: an enclave's calls interrupted everywhere, and its borders tried one by one."""

from typing import TYPE_CHECKING

from enclu.base import lazy

if TYPE_CHECKING:
    from enclu.sweep.behaviour import Behaviour as Behaviour
    from enclu.sweep.loaded import sweep_call as sweep_call
    from enclu.sweep.outcome import Kind as Kind
    from enclu.sweep.verdict import Verdict as Verdict

_MODULES = {"Behaviour": "behaviour", "Kind": "outcome", "Verdict": "verdict", "sweep_call": "loaded"}

__getattr__ = lazy.attributes(__name__, _MODULES)
