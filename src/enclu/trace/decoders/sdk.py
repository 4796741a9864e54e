"""Intel's SDK: numbers of ECALLs and OCALLs are in RDI.

SDK: psw/urts/linux/enter_enclave.S, sdk/trts/linux/trts_pic.S, common/inc/internal/rts_cmd.h.
"""

from __future__ import annotations

from enclu.host.conventions.sdk.abi import OCMD_ERET, BuiltinOcall, EnterCommand, signed
from enclu.trace.decoders import Call, Decoder, Evidence, Kind

_COMMANDS = {int(command): command.name for command in EnterCommand}
_BUILTIN = {int(ocall): ocall.name for ocall in BuiltinOcall}
_INIT = EnterCommand.ECMD_INIT_ENCLAVE & (1 << 64) - 1


class Sdk(Decoder):
    """An enclave's first entry is its initialisation."""

    convention = "sdk"
    every_leaf = False
    by_symbols = True

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        return evidence.rdi == _INIT

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        rdi &= 0xFFFF_FFFF
        return self._entries.get(rdi) or self.remember(self._entries, rdi, self._entry(signed(rdi)))

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        rdi &= 0xFFFF_FFFF
        return self._exits.get(rdi) or self.remember(self._exits, rdi, self._exit(signed(rdi)))

    def _entry(self, command: int) -> Call:
        if command == EnterCommand.ECMD_ORET:
            return Call(Kind.OCALL_RETURN)
        return Call(Kind.ECALL, command, _COMMANDS.get(command) or self.names.ecalls.get(command, ""))

    def _exit(self, command: int) -> Call:
        if command == OCMD_ERET:
            return Call(Kind.ECALL_RETURN)
        return Call(Kind.OCALL, command, _BUILTIN.get(command) or self.names.ocalls.get(command, ""))
