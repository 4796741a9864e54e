"""What the pictures tell is what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from enclu.compare import CompareError
from enclu.explain import scene, story, words
from enclu.explain.picture import Picture, Tone
from enclu.explain.scene import Scene
from enclu.linux import delivery
from enclu.linux.delivery.base import Delivery

POLICIES = ["mm-handler:write-once", "mm-handler:unregister-first"]


@pytest.fixture(scope="module")
def scenes(cache: Path) -> dict[str, Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return {run.design: run for run in scene.trace([*delivery.names(), *POLICIES], 2)}


def way(picture: Picture) -> list[str]:
    return [f"{picture.lanes[s.source]} > {picture.lanes[s.target]}: {s.label}" for s in picture.steps]


def test_v3_asks_the_process(scenes: dict[str, Scene]) -> None:
    assert way(story.one_exception(scenes["mm-handler"])) == [
        "runtime > kernel: ioctl", "runtime > enclave: EENTER", "enclave > processor: AEX",
        "processor > kernel: #PF 0x8007", "kernel > runtime: fixup", "runtime > host: told",
    ]  # fmt: skip


def test_what_linux_shipped_asks_the_code(scenes: dict[str, Scene]) -> None:
    assert way(story.one_exception(scenes["vdso"])) == [
        "vDSO > enclave: EENTER", "enclave > processor: AEX", "processor > kernel: #PF 0x8007", "kernel > vDSO: fixup",
        "vDSO > runtime, host: told",
    ]  # fmt: skip


def test_without_a_design_it_is_a_signal(scenes: dict[str, Scene]) -> None:
    assert "kernel > runtime: SIGSEGV" in way(story.one_exception(scenes["signal"]))


def test_under_v3_the_second_runtime_gets_what_is_the_firsts(scenes: dict[str, Scene]) -> None:
    picture = story.second_runtime(scenes["mm-handler"])
    assert way(picture)[-2:] == ["kernel > runtime B: fixup", "runtime B > runtime B: SIGABRT"]
    assert picture.ends == "killed: SIGABRT" and not picture.works
    assert any("runtime B, enter_faulted" in str(value) for value in picture.at(story.GOES)[0].values)


@pytest.mark.parametrize("design", ["vdso", "vdso-2018", "thread-handler", "range-handler", "signal"])
def test_elsewhere_the_first_is_told_again(design: str, scenes: dict[str, Scene]) -> None:
    picture = story.second_runtime(scenes[design])
    assert picture.works and picture.steps[-1].tone is Tone.GOOD
    assert picture.lanes[picture.steps[-1].target] == "runtime A"


@pytest.mark.parametrize("design", ["vdso-jmp", *POLICIES])
def test_or_the_second_is_refused(design: str, scenes: dict[str, Scene]) -> None:
    picture = story.second_runtime(scenes[design])
    assert picture.ends == "refused: EBUSY" and not picture.works
    assert [step.tone for step in picture.at(story.SECOND)] == [Tone.BAD]
    assert picture.absent[story.AGAIN] and not picture.at(story.AGAIN)


def test_every_stage_has_something(scenes: dict[str, Scene]) -> None:
    for run in scenes.values():
        for picture in (story.one_exception(run), story.second_runtime(run)):
            assert all(picture.at(stage) or picture.absent[stage] for stage in picture.stages)


def test_numbers_are_those_of_the_trace(scenes: dict[str, Scene]) -> None:
    run = scenes["vdso"]
    fixup = next(event for event in run.events if event["event"] == "fixup")
    (step,) = story.one_exception(run).at(story.DECISION)
    numbers = {value.name: value.number for value in step.values}
    assert numbers == {
        "RIP": f"{fixup['target']:#x}", "RDI": "14", "RSI": "0x8007", "RDX": f"{fixup['address']:#x}"
    }  # fmt: skip


def test_a_fault_that_the_kernel_resolves_is_told_of_before_the_other(scenes: dict[str, Scene]) -> None:
    labels = [step.label for step in story.page_faults(scenes["vdso"]).steps]
    assert labels == ["EENTER", "AEX", "#PF", "ERESUME", "AEX", "#PF 0x8007", "fixup"]


def test_a_trace_without_an_exception_is_no_story(scenes: dict[str, Scene]) -> None:
    run = scenes["vdso"]
    cut = Scene(run.design, run.command, run.events[:5], run.told, run.memory, run.says)
    with pytest.raises(CompareError, match="the trace under vdso has not an exception of an enclave; see enclu trace"):
        story.one_exception(cut)


def test_a_new_design_is_told_of_by_what_it_declares() -> None:
    class Ours(Delivery):
        name = "ours"

    assert words.in_short("ours", Ours).asked == "ours decides."
    assert words.fourth_lane(Ours) == "runtime"
