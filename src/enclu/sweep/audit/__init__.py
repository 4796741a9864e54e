"""A hostile host's checklist: what an enclave makes of registers, exceptions and pointers of its host's choosing.

    report = audit("enclave.signed.so", interface=load("enclave.edl"))
    for finding in report.weak: print(finding.item, finding.evidence)

docs/audit.md says of each item what it tries and how it is judged.
"""

from typing import TYPE_CHECKING

from enclu.base.lazy import attributes

if TYPE_CHECKING:
    from enclu.sweep.audit.run import audit
    from enclu.sweep.audit.verdict import Finding, Means, Report, Verdict

__all__ = ["Finding", "Means", "Report", "Verdict", "audit"]

__getattr__ = attributes(
    __name__, {"Finding": "verdict", "Means": "verdict", "Report": "verdict", "Verdict": "verdict", "audit": "run"}
)
