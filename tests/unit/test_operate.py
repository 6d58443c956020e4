"""What a person is told about a run, from its logs and jobs."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from headsplat_workflow import codehash, job_logs
from headsplat_workflow.dag import Plan, PlannedJob
from headsplat_workflow.estimate import Costs, Estimate, Task, estimate
from headsplat_workflow.named_rows import pattern_among, pattern_of
from headsplat_workflow.plan import plan_table
from headsplat_workflow.progress import Running, describe
from headsplat_workflow.reasons import explain_params
from headsplat_workflow.run_jobs import RunJob, RunPlan
from headsplat_workflow.summary import DONE, FAILED, LEFT, STOPPED, Job, jobs_of, summary

from headsplat.runtime.fingerprint import fingerprint

ROOT = Path(__file__).resolve().parents[2]


def test_last_progress_and_failure_of_a_log(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("12:00:00 landmarks 3 10/63  3.4/s  16 s left\nWARNING: a library's own\n")
    progress = job_logs.last_progress(job_logs.tail(log))
    assert (progress.what, progress.done, progress.total) == ("landmarks 3", 10, 63)
    assert (progress.rate, progress.left) == (3.4, 16)
    running = Running("detect_chunk anna 003", progress, 16)
    assert str(running) == "detect_chunk anna 003 10/63 3.4/s 16 s"
    assert job_logs.failure(job_logs.tail(log)) is None
    log.write_text("12:00:00 step 120/3000  35.2 images/s  loss 0.01234  1200 s left\n")
    trained = job_logs.last_progress(job_logs.tail(log))
    assert str(Running("train_avatar anna", trained, 1200)) == (
        "train_avatar anna 120/3000 35.2 images/s 20 min"
    ), "steps are counted, but the rate is of images"
    with open(log, "a") as handle:
        handle.write("12:40:00 step 3000/3000 done in 9.1 s (329.7/s)\n12:40:01 next\n")
    assert job_logs.last_progress(job_logs.tail(log)) is None, "what it tells of is over"
    log.write_text("error: a.mp4: not a video\n\n")
    assert job_logs.failure(job_logs.tail(log)) == "a.mp4: not a video"
    log.write_text("Traceback (most recent call last):\n  File x\nValueError: odd\n")
    assert job_logs.failure(job_logs.tail(log)) == "ValueError: odd"
    log.write_text("x" * 100_000 + "\nstopped; the same command continues\n")
    assert job_logs.stopped(job_logs.tail(log))
    assert job_logs.tail(tmp_path / "none.log") == []


def test_options_that_changed_are_named():
    old = ["'--steps 30 --batch 2'", "'0123456789ab'", "4"]
    new = ["'--steps 31 --batch 2'", "'ba9876543210'", "2"]
    names = {"'ba9876543210'": "code", "2": "chunks", new[0]: "options"}
    assert explain_params(old[:1], new[:1], names) == ["steps 30 -> 31"]
    assert explain_params(old[1:2], new[1:2], names) == ["code changed"]
    assert explain_params(old[2:], new[2:], names) == ["chunks changed to 2"]
    assert (
        explain_params(["'--lpips-weight 0.1'"], ["''"], {"''": "options"})[0]
        == "lpips_weight 0.1 -> unset"
    )


def test_subjects_with_the_same_plan_share_their_lines(tmp_path):
    def jobs(subject):
        return [
            PlannedJob("matte_chunk", subject, ("new",), frozenset({"crop_chunk"})),
            PlannedJob("crop_chunk", subject, ("new",), frozenset()),
            PlannedJob("export_dataset", subject, (), frozenset({"crop_chunk", "matte_chunk"})),
        ]

    (tmp_path / "s1").mkdir()
    (tmp_path / "s1/crop_chunk.tsv").write_text("s\tmax_rss\n90.0\t1\n")
    plan = Plan([*jobs("s1"), *jobs("s2"), *jobs("s3")], {("s4", "crop_chunk"): 1})
    assert plan_table(plan, tmp_path).splitlines() == [
        "s1 and 2 more:",
        "  crop_chunk      1 job     new  [1 min 30 s last time]",
        "  matte_chunk     1 job     new",
        "  export_dataset  1 job     after matte_chunk",
        "s4: up to date",
        "9 jobs; last time such jobs took 4 min 30 s in all",
    ]


def test_the_summary_says_who_failed_where_and_why(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("one\nerror: no face; video one\n")
    silent = tmp_path / "none.log"
    jobs = [
        *(Job("train_avatar", f"good{n:03d}", None, DONE) for n in range(100)),
        Job("solve_crop", "bad", log, FAILED),
        Job("train_avatar", "bad", None, LEFT),
        Job("detect_chunk", "lost", silent, FAILED, "003", reason="died"),
        Job("probe_video", "late", None, LEFT),
        Job("train_avatar", "saved", None, STOPPED),
        Job("evaluate_avatar", "saved", None, LEFT),
    ]
    lines = summary(jobs, stopped=True).splitlines()
    assert lines[0].startswith("done: good000, good001, ")
    assert lines[0].endswith(" and 92 more")
    assert lines[1:] == [
        "bad: FAILED in solve_crop; 1 job after it did not start",
        "    error: no face; video one",
        f"    log: {log}",
        "lost: FAILED in detect_chunk 003",
        "    died",
        f"    no log was written ({silent})",
        "not started, because the run was stopped: late",
        "not finished, because the run was stopped: saved",
    ]
    shared = [Job("build_cuda_ext", None, log, FAILED), Job("probe_video", "anna", None, LEFT)]
    text = summary(shared, stopped=False)
    assert "not finished, because build_cuda_ext failed: anna" in text


@dataclass(eq=False)
class SnakemakeJob:
    """What is asked of one of Snakemake's jobs when the run is over."""

    log: list[str]

    def is_group(self):
        return False


class SnakemakeGroup(tuple):
    """Its jobs that go to a cluster together."""

    def is_group(self):
        return True


def test_a_job_that_was_stopped_did_not_fail(tmp_path):
    said = {
        "saved": "saved after step 3 of 9\nstopped; the same command continues\n",
        "early": "",
        "loading": "Traceback (most recent call last):\n  File x\nKeyboardInterrupt\n",
        "bad": "error: no face; video one\n",
        "before": "",
    }
    jobs = []
    for name, text in said.items():
        (tmp_path / name).write_text(text)
        source = SnakemakeJob([str(tmp_path / name)])
        jobs.append(RunJob(source, len(jobs), name, log=tmp_path / name))
    plan = RunPlan(dict(enumerate(jobs)))
    sources = [job.source for job in jobs]
    dag = SimpleNamespace(finished=lambda _: False)
    found = jobs_of(plan, dag, sources, sources[:4])
    states = {job.rule: job.state for job in found}
    assert states == dict.fromkeys(("saved", "early", "loading"), STOPPED) | {
        "bad": FAILED, "before": FAILED,
    }  # fmt: skip
    # A group that failed blames those of its jobs whose logs say why.
    group = SnakemakeGroup(sources[3:])
    states = {job.rule: job.state for job in jobs_of(plan, dag, [group])}
    assert states == dict.fromkeys(("saved", "early", "loading", "before"), LEFT) | {"bad": FAILED}


def test_costs_go_with_the_clips_frames_and_this_runs_count_more():
    before = Costs()
    before.add("overlay_track", 10.0, 1, 100)
    before.add("train_avatar", 40.0, 1, 100)
    before.add("build_cuda_ext", 20.0, 1, None)
    costs = Costs(before)
    assert costs.expected("overlay_track", 300) == pytest.approx(30)
    assert costs.expected("overlay_track", None) == pytest.approx(10)
    assert costs.expected("train_avatar", 300) == pytest.approx(40), "its steps are fixed"
    assert costs.expected("build_cuda_ext", None) == pytest.approx(20)
    assert costs.expected("drive_avatar", 300) is None
    costs.add("overlay_track", 4.0, 1, 100)
    costs.add("overlay_track", 2.0, 1, 100)
    assert costs.expected("overlay_track", 300) == pytest.approx(9)


def test_what_is_left_is_the_longest_chain_or_all_the_work():
    def left(*tasks: Task, done: float = 0.0) -> Estimate:
        return estimate(dict(enumerate(tasks)), done)

    chain = (Task("a", 5.0, share=0.5), Task("b", 7.0, (0,), share=0.5))
    assert left(*chain).seconds == pytest.approx(12)
    # Four jobs of which two fit at once; what is not in the mapping is done.
    assert left(*(Task("a", 5.0, (9,), 0.5),) * 4).seconds == pytest.approx(10)
    running = Task("train", 600.0, share=0.25, spent=200.0)
    assert left(running, Task("a", 1.0)).seconds == pytest.approx(600)
    assert left(running, done=50.0).share == pytest.approx(100 / 250)
    unknown = left(running, Task("b", None, (0,)), Task("a", None))
    assert (unknown.share, unknown.unknown) == (None, ("a", "b"))
    assert unknown.seconds == pytest.approx(600)
    assert left() == Estimate(0, 1.0, ())


def test_the_line_of_a_run_never_says_less_than_a_running_stage():
    progress = job_logs.Progress("step", 120, 3000, 35.2, 612)
    train = Running("train_avatar anna", progress, 612)
    others = [Running(f"matte_chunk anna {n:03d}", None, None) for n in range(3)]
    line = describe(3, 9, Estimate(612, 0.25, ()), [*others, train])
    assert line == (
        "25%, 3 of 9 jobs, 10 min left | train_avatar anna 120/3000 35.2/s 10 min | "
        "matte_chunk anna 000 | matte_chunk anna 001 | 1 more"
    )
    line = describe(3, 9, Estimate(612, None, ("a", "b", "c", "d")), [train])
    assert line.startswith("3 of 9 jobs, time left unknown | train_avatar anna ")


def test_a_pattern_of_names_matches_these_alone():
    names = {"a", "ab", "abc", "b-1", "b_2", *(f"s{n:04d}" for n in range(2000))}
    pattern = re.compile(pattern_of(names))
    assert all(pattern.fullmatch(name) for name in names)
    for other in ("", "b", "abcd", "s200", "s2000", "s00000", "b.1"):
        assert not pattern.fullmatch(other), other
    assert not re.fullmatch(pattern_of([]), "")


@pytest.mark.parametrize("chosen", [[], ["a"], ["a", "b-1", "b"], ["ab", "a", "b", "b-1"]])
def test_a_pattern_tells_the_subjects_of_a_table_apart(chosen):
    everyone = ["a", "ab", "b", "b-1"]
    pattern = re.compile(pattern_among(chosen, everyone))
    assert [name for name in everyone if pattern.fullmatch(name)] == sorted(chosen)


def test_a_long_table_does_not_make_long_patterns():
    everyone = [f"s{n:04d}" for n in range(2000)]
    assert len(pattern_among(everyone[1:], everyone)) < 60


def test_a_fingerprint_sees_the_bytes_and_not_the_date(tmp_path):
    path = tmp_path / "a.mp4"
    data = bytearray(range(256)) * 2000
    path.write_bytes(data)
    first = fingerprint(path)
    path.touch()
    assert fingerprint(path) == first
    for place in (0, len(data) // 2, -1):
        other = bytearray(data)
        other[place] ^= 1
        path.write_bytes(other)
        assert fingerprint(path) != first
    path.write_bytes(b"")
    assert fingerprint(path) != first


def test_sources_are_parsed_once(tmp_path, monkeypatch):
    memo = tmp_path / "sources.json"
    monkeypatch.setattr(codehash, "_sources", {})
    codehash.read_sources(memo)
    parsed = dict(codehash._sources)
    monkeypatch.setattr(codehash, "_sources", {})
    monkeypatch.setattr(codehash, "_parse", lambda path: pytest.fail(f"{path} is parsed again"))
    codehash.read_sources(memo)
    assert {path: tuple(entry) for path, entry in codehash._sources.items()} == parsed
    monkeypatch.undo()
    memo.write_text("{")  # as a full disk leaves it: not believed
    codehash.read_sources(memo)
    assert codehash._sources == parsed
