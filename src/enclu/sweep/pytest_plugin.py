"""pytest's mark for tests whose ECALLs are to be safe from their host.

    @pytest.mark.aex_everywhere(where="window", host=["int:resume", "pf:handle,resume"])
    def test_adds(enclave):
        assert enclave("enclave.c").ecall(0, 41) == 42

See docs/testing.md.  Loaded by pytest itself (entry point `pytest11`), so nothing heavy is imported before it is used.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from enclu.sweep.everywhere import Everywhere, Wanted

NAME = "aex_everywhere"
MARKER = (
    f"{NAME}(where='all', host=['int:resume']): each ECALL of the test is interrupted by a hostile host at these "
    "points, 'window', 'functions', 'all' or '0:40,411', and the test fails unless what comes of it is harmless"
)
_REPLAY = re.compile(r"(\d+):(\d+):(.+)")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("enclu", "SGX enclaves on the machine of enclu")
    group.addoption(
        "--aex-replay", metavar="CALL:N:EVENT:ACTIONS",
        help=f"of tests marked {NAME}, have only the CALL-th ECALL swept, and only after N instructions",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A mark that is wrong is told before any test runs."""
    _wanted(metafunc.config, metafunc.definition)


@pytest.hookimpl(optionalhook=True)
def pytest_sgx_process_options(item: pytest.Item) -> dict[str, Any] | None:
    return {"stepping": True} if item.get_closest_marker(NAME) is not None else None


def _wanted(config: pytest.Config, node: pytest.Item) -> Wanted | None:
    """None without a mark.  Raises UsageError."""
    marker = node.get_closest_marker(NAME)
    if marker is None:
        return None
    from enclu.host.errors import HostError
    from enclu.sweep import points
    from enclu.sweep.behaviour import Behaviour
    from enclu.sweep.everywhere import Wanted

    unknown = set(marker.kwargs) - {"where", "host"}
    if marker.args or unknown:
        raise pytest.UsageError(f"{node.nodeid}: pytest.mark.{MARKER}")
    host = marker.kwargs.get("host", Wanted.host)
    wanted = Wanted(marker.kwargs.get("where", Wanted.where), (host,) if isinstance(host, str) else tuple(host))
    replay: str | None = config.getoption("aex_replay")
    if replay is not None:
        match = _REPLAY.fullmatch(replay)
        if match is None or match[1] == "0":
            raise pytest.UsageError(
                f"--aex-replay: {replay!r} is not CALL:N:EVENT:ACTIONS, as in 1:411:pf:handle,resume"
            )
        wanted = Wanted(match[2], (match[3],), int(match[1]))
    if not wanted.host:
        raise pytest.UsageError(f"{node.nodeid}: {NAME}: host: an empty list")
    try:
        points.check(wanted.where)
        for behaviour in wanted.host:
            Behaviour.parse(behaviour)
    except HostError as error:
        raise pytest.UsageError(f"{node.nodeid}: {NAME}: {error}") from None
    return wanted


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The test fails by what was found, unless it fails by itself: then its report tells of that, too."""
    wanted = _wanted(pyfuncitem.config, pyfuncitem)
    if wanted is None:
        return (yield)
    from enclu.host.errors import ProcessDied
    from enclu.sweep.everywhere import Everywhere

    with Everywhere(wanted) as everywhere:
        try:
            result = yield
        except ProcessDied:
            if everywhere.found:  # which is what has killed it
                raise _failed(_told(pyfuncitem, everywhere)) from None
            raise
        except Exception:
            if everywhere.found:
                pyfuncitem.add_report_section("call", NAME, _told(pyfuncitem, everywhere))
            raise
    if everywhere.found:
        raise _failed(_told(pyfuncitem, everywhere))
    if not everywhere.swept:
        why = f"{everywhere.counted} ECALLs" if wanted.only else "no ECALL that could be swept"
        raise _failed(f"{pyfuncitem.nodeid}: {NAME}: the test makes {why}")
    return result


def _failed(text: str) -> BaseException:
    """As pytest.fail(), which is no frame of ours to be left out."""
    return pytest.fail.Exception(text, pytrace=False)


def _told(item: pytest.Item, everywhere: Everywhere) -> str:
    def replay(text: str) -> str:
        return f"pytest {shlex.quote(item.nodeid)} --aex-replay {shlex.quote(text)}"

    count = f"{len(everywhere.found)} of {len(everywhere.swept)} ECALLs"
    lines = [f"{item.nodeid}: {count} are not safe from their host:", ""]
    for swept in everywhere.found:
        lines += swept.lines(replay)
    return "\n".join(lines).rstrip()
