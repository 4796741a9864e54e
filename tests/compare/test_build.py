"""Building: what is built again and when, languages, enclaves, and words for what is wrong."""

from __future__ import annotations

import os
import re
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import enclu
from enclu.compare import CompareError, catalog, runtimes
from enclu.compare.build import Builder, default_directory
from enclu.compare.catalog import Catalog, Scenario
from enclu.compare.runner import Outcome, Task, run_once
from enclu.linux import delivery
from enclu.sgx.structs import SIGSTRUCT
from tests.compare.conftest import ROOT
from tests.support import hostile

TOML = 'title = "Mine"\nabout = "Mine."\nthread = [{ message = 1, says = "so" }]\n'
MAIN = '#include "scenario.h"\nint main(void) { ok(true, "so"); finish(); }\n'


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenarios folder without scenarios, and with one runtime: to be copied, not to be changed."""
    root = tmp_path_factory.mktemp("copied") / "scenarios"
    shutil.copytree(catalog.find_root(), root)
    for path in root.glob("*/scenario.toml"):
        shutil.rmtree(path.parent)
    return root


@pytest.fixture
def root(copied: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(copied, tmp_path / "scenarios"))


def scenario(root: Path, toml: str = TOML, **files: str) -> Scenario:
    """Writes the scenario `mine`; `main_c` is its main.c."""
    (root / "mine").mkdir()
    (root / "mine" / "scenario.toml").write_text(toml)
    for name, text in files.items():
        (root / "mine" / ".".join(name.rsplit("_", 1))).write_text(text)
    return catalog.read(root).scenarios["mine"]


def only_vdso(root: Path) -> Catalog:
    """Few files to build."""
    known = catalog.read(root)
    return Catalog(root, known.scenarios, {"vdso": known.runtimes["vdso"]}, known.enclaves)


def build(root: Path, mine: Scenario) -> Builder:
    builder = Builder(only_vdso(root), root.parent / "build")
    builder.build([mine], 2)
    return builder


def outcome(root: Path, mine: Scenario) -> tuple[Outcome, str]:
    """Of the scenario under `vdso`."""
    ended = run_once(Task(mine, "vdso", build(root, mine).program(mine)))
    return ended.outcome, ended.reason


def times(directory: Path) -> dict[str, int]:
    """When each file was built."""
    return {str(p.parent.relative_to(directory) / p.stem): p.stat().st_mtime_ns for p in directory.rglob("*.stamp")}


@pytest.mark.timeout(300)
def test_only_what_a_change_concerns_is_built_again(root: Path) -> None:
    mine = scenario(root, main_c=MAIN)
    directory = build(root, mine).directory
    before = times(directory)
    build(root, mine)
    assert times(directory) == before
    with (root / "mine" / "main.c").open("a") as source:
        source.write("/* changed */\n")
    build(root, mine)
    changed = {name for name, time in times(directory).items() if time != before[name]}
    assert changed == {"mine/mine"}


@pytest.mark.timeout(300)
def test_a_source_of_another_folder_is_built_again_when_it_changes(root: Path) -> None:
    (root / "other").mkdir()
    (root / "other" / "own.h").write_text("enum { SO = 1 };\n")
    (root / "other" / "main.c").write_text(MAIN.replace("true", "SO").replace("int main", '#include "own.h"\nint main'))
    mine = scenario(root, TOML + 'sources = ["../other/main.c"]\n')
    assert outcome(root, mine) == (Outcome.WORKS, "1 observations")
    (root / "other" / "own.h").write_text("enum { SO = 0 };\n")
    assert outcome(root, mine) == (Outcome.WRONG, "not so: so")


@pytest.mark.timeout(300)
def test_a_changed_header_concerns_all_who_may_include_it(root: Path) -> None:
    mine = scenario(root, main_c=MAIN)
    directory = build(root, mine).directory
    before = times(directory)
    with (root / "enclaves" / "basic.h").open("a") as header:
        header.write("/* changed */\n")
    build(root, mine)
    after = times(directory)
    assert all(after[name] != before[name] for name in ("runtimes/vdso-a.so", "enclaves/basic.elf", "mine/mine"))


@pytest.mark.timeout(300)
def test_a_scenario_in_cpp(root: Path) -> None:
    body = (
        '#include "scenario.h"\n#include <string>\nint main() { std::string s("so"); ok(s == "so", "so"); finish(); }\n'
    )
    assert outcome(root, scenario(root, main_cc=body)) == (Outcome.WORKS, "1 observations")


@pytest.mark.timeout(300)
def test_a_scenario_in_go(root: Path) -> None:
    body = (
        'package main\n\n/*\n#include "scenario.h"\nstatic void observe(int so) { ok(so, "so"); }\n*/\n'
        'import "C"\n\nfunc main() {\n\tC.observe(1)\n\tC.finish()\n}\n'
    )
    mine = scenario(root, main_go=body, go_mod="module mine\n\ngo 1.19\n")
    assert outcome(root, mine) == (Outcome.WORKS, "1 observations")


@pytest.mark.timeout(300)
def test_an_enclave_of_its_own_with_heap_spare_addresses_and_avx(root: Path) -> None:
    toml = f'{TOML}[enclaves.own]\nsources = ["own.c"]\nheap_pages = 3\nspare_pages = 2\nxfrm = 7\nstack_pages = 1\n'
    own = (
        '#include "trusted.h"\n'
        "uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n"
        "{ (void)thread; return *(uint64_t *)argument += function; }\n"
    )
    main = """
#include "scenario.h"
int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	struct sgx_enclave enclave;
	uint64_t result = 0, *heap;

	must_start(runtime);
	must_load(runtime, &enclave, "mine/own.elf");
	heap = (uint64_t *)(enclave.base + enclave.heap);
	ok_eq(enclave.spare - enclave.heap, 3 * SGX_PAGE, "heap");
	ok_eq(enclave.spare_pages, 2, "spare pages");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), 5, heap, NULL, &result, NULL), 0, "an ECALL");
	ok_eq(result, 5, "its result");
	finish();
}
"""
    assert outcome(root, scenario(root, toml, main_c=main, own_c=own)) == (Outcome.WORKS, "4 observations")


@pytest.mark.timeout(300)
def test_an_enclave_is_signed_anew_as_it_is_now(root: Path) -> None:
    """Whatever the signature of what it was before says, and whether or not that is one."""
    toml = TOML + '[enclaves.mine]\nsources = ["enclave.c"]\nxfrm = 3\n'
    code = (
        '#include "trusted.h"\nuint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n'
        "{ (void)thread; (void)function; (void)argument; return 0; }\n"
    )
    mine = scenario(root, toml, main_c=MAIN, enclave_c=code)
    signature = build(root, mine).program(mine).with_name("mine.elf.sig")
    assert SIGSTRUCT.get(signature.read_bytes(), "XFRM") == 3
    (root / "mine" / "scenario.toml").write_text(toml.replace("xfrm = 3", "xfrm = 7"))
    build(root, catalog.read(root).scenarios["mine"])
    assert SIGSTRUCT.get(signature.read_bytes(), "XFRM") == 7
    signature.write_bytes(b"of an earlier version")
    (root / "mine" / "enclave.c").write_text(code.replace("return 0", "return 1"))
    build(root, catalog.read(root).scenarios["mine"])
    assert len(signature.read_bytes()) == SIGSTRUCT.size


@pytest.mark.timeout(300)
def test_a_module_is_loaded_by_its_program(root: Path) -> None:
    toml = f'{TOML}[modules.part]\nsources = ["part.c"]\n'
    part = '__attribute__((visibility("default"))) int answer(void) { return 42; }\n'
    main = """
#include "scenario.h"
#include <dlfcn.h>
int main(void)
{
	void *part = dlopen(built("mine/part.so"), RTLD_NOW);
	int (*answer)(void) = part ? (int (*)(void))dlsym(part, "answer") : NULL;

	ok_eq(answer(), 42, "its answer");
	finish();
}
"""
    assert outcome(root, scenario(root, toml, main_c=main, part_c=part)) == (Outcome.WORKS, "1 observations")


@pytest.mark.timeout(300)
def test_an_enclave_may_have_tables_of_pointers(root: Path) -> None:
    toml = f'{TOML}[enclaves.own]\nsources = ["own.c"]\nflags = ["-DANSWER=42"]\n'
    own = """
#include "trusted.h"
static uint64_t question(void) { return 0; }
static uint64_t answer(void) { return ANSWER; }
static uint64_t (*volatile const table[])(void) = { question, answer };
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{ (void)thread, (void)argument; return table[function](); }
"""
    main = """
#include "scenario.h"
int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	struct sgx_enclave enclave;
	uint64_t result = 0;

	must_start(runtime);
	must_load(runtime, &enclave, "mine/own.elf");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), 1, NULL, NULL, &result, NULL), 0, "an ECALL");
	ok_eq(result, 42, "its result");
	finish();
}
"""
    assert outcome(root, scenario(root, toml, main_c=main, own_c=own)) == (Outcome.WORKS, "2 observations")


@pytest.mark.timeout(300)
def test_a_scenario_runs_another_program(root: Path) -> None:
    main = """
#include "scenario.h"
static const char *const script[] = { "sh", "-c", "read line; echo \\"$line\\"; echo trouble >&2; exit 3", NULL };
int main(void)
{
	struct ran ran = run_program(script, "hello\\n", 6);

	ok(!strcmp(ran.ended, "exited with 3"), "it %s", ran.ended);
	ok(!strcmp((char *)ran.output, "hello\\n") && ran.size == 6, "its output");
	ok(!strcmp(ran.errors, "trouble\\n"), "its errors");
	ran = run_program((const char *[]){ "sh", "-c", "kill -ILL $$", NULL }, "", 0);
	ok(!strcmp(ran.ended, "killed by SIGILL"), "another was %s", ran.ended);
	ran = run_program((const char *[]){ "/nonexistent", NULL }, "", 0);
	ok(!strcmp(ran.ended, "exited with 127"), "none %s", ran.ended);
	finish();
}
"""
    assert outcome(root, scenario(root, main_c=main)) == (Outcome.WORKS, "5 observations")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [k for k in (*hostile.KINDS, "empty", "not text") if k != "directory"])
def test_what_is_not_as_it_was_built_is_built_again(kind: str, root: Path) -> None:
    mine = scenario(root, main_c=MAIN)
    builder = build(root, mine)
    directory = builder.directory
    damaged = [builder.program(mine), directory / "enclaves" / "basic.elf.sig", directory / "cost" / "cost.stamp"]
    before = [path.read_bytes() for path in damaged]
    for path in damaged:
        hostile.put(path, kind)
    build(root, mine)
    assert [path.read_bytes() for path in damaged] == before


@pytest.mark.timeout(300)
def test_the_umask_is_no_reason_to_build_again(root: Path) -> None:
    mine = scenario(root, main_c=MAIN)
    old = os.umask(0)
    try:
        before = times(build(root, mine).directory)
        assert times(build(root, mine).directory) == before
    finally:
        os.umask(old)


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_key_that_is_no_file_of_ones_own_is_refused(kind: str, root: Path) -> None:
    mine = scenario(root, main_c=MAIN)
    hostile.put(root.parent / "build" / "key.pem", kind)
    with pytest.raises(CompareError, match=f"key.pem: {re.escape(hostile.KINDS[kind][1])}.*enclu keeps a key there"):
        build(root, mine)


@pytest.mark.parametrize("kind", ["FIFO", "device", "link", "socket", "huge"])
def test_a_directory_that_is_none_is_told_in_one_line(kind: str, root: Path) -> None:
    hostile.put(root.parent / "build", kind)
    with pytest.raises(CompareError, match=r"build: Not a directory; .* XDG_CACHE_HOME if that is set$"):
        build(root, scenario(root, main_c=MAIN))


def test_a_relative_cache_directory_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_directory(catalog.find_root()).parent == tmp_path / ".cache" / "enclu" / "scenarios"


def test_without_a_home_there_is_nowhere_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(CompareError, match="nowhere to build the scenarios: no home directory; set HOME or XDG_CACHE"):
        default_directory(catalog.find_root())


def test_a_full_disk_is_told_in_one_line(root: Path) -> None:
    """Here, the largest file that may be written."""
    mine = scenario(root, main_c=MAIN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(CompareError, match=r"key.pem: File too large; enclu keeps a key there$"):
            build(root, mine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_missing_program_is_answered_with_its_package(root: Path) -> None:
    toml = f'programs = ["nonsense-tool"]\npackages = ["nonsense"]\n{TOML}'
    with pytest.raises(CompareError, match="nonsense-tool is missing\nscenario mine needs: apt-get install nonsense"):
        build(root, scenario(root, toml, main_c=MAIN))


def test_what_cannot_be_built_is_answered_with_the_packages_it_needs(root: Path) -> None:
    toml = f'packages = ["nonsense-dev"]\n{TOML}'
    with pytest.raises(CompareError, match=r"nonsense\.h(.*\n)*scenario mine needs: apt-get install nonsense-dev"):
        build(root, scenario(root, toml, main_c=f"#include <nonsense.h>\n{MAIN}"))


def test_make_installs_what_scenarios_need() -> None:
    of_the_demo, of_scenarios, _ = re.findall(r"^PACKAGES [:+]= (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    needed = {p for s in catalog.read(catalog.find_root()).scenarios.values() for p in s.packages}
    assert needed and needed <= {*of_the_demo.split(), *of_scenarios.split()}


def test_a_compiler_has_the_last_word(root: Path) -> None:
    with pytest.raises(CompareError, match=r"error: .nonsense. undeclared"):
        build(root, scenario(root, main_c="int main(void) { return nonsense; }\n"))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (TOML + "nonsense = 1\n", "unknown key 'nonsense'; known: title"),
        (TOML + 'timeout = "long"\n', "'timeout' must be a int"),
        ('about = "Mine."\n', "'title' is missing"),
        ('title = "Mine"\nabout = "Mine."\nthread = ["so"]\n', "'thread' is a list of"),
        (TOML + 'also = ["nonsense"]\n', "unknown design 'nonsense'; known: signal"),
        (TOML + 'sources = ["missing.c"]\n', "there is no missing.c"),
        (TOML + '[enclaves.own]\nsources = ["main.c"]\nheap = 3\n', "an enclave:"),
        ("title = \n", "scenario.toml: "),
    ],
)
def test_what_is_wrong_with_a_scenario_is_told(toml: str, words: str, root: Path) -> None:
    with pytest.raises(CompareError, match=r"scenario\.toml") as error:
        scenario(root, toml, main_c=MAIN)
    assert words in str(error.value)


def test_a_scenario_without_a_program_is_an_error(root: Path) -> None:
    with pytest.raises(CompareError, match="no source of a program"):
        scenario(root)


def test_a_runtime_without_its_toml_is_an_error(root: Path) -> None:
    (root / "runtimes" / "vdso" / "runtime.toml").unlink()
    with pytest.raises(CompareError, match=r"runtimes/vdso/runtime\.toml is missing"):
        catalog.read(root)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("design", delivery.names())
def test_a_design_without_a_runtime_has_what_it_declares(design: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And is as usable by one runtime alone as with its own."""
    known = catalog.read(catalog.find_root())
    made = runtimes.declared(known.root / "runtimes", design)
    assert made.needs and made.design == design
    builder = Builder(replace(known, runtimes={design: made}), tmp_path_factory.getbasetemp() / "declared")
    builder.build([known.scenarios["one-runtime"]], 2)
    ended = run_once(Task(known.scenarios["one-runtime"], design, builder.program(known.scenarios["one-runtime"])))
    assert ended.outcome == Outcome.WORKS, ended.output


def test_an_installed_package_has_its_own_scenarios(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = root.parent / "lib" / "python3" / "site-packages" / "enclu"
    package.mkdir(parents=True)
    monkeypatch.setattr(enclu, "__file__", str(package / "__init__.py"))
    with pytest.raises(CompareError, match="the scenarios are missing"):
        catalog.find_root()
    root.rename(package / "scenarios")
    assert catalog.find_root() == package / "scenarios"
