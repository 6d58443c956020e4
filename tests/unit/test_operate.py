"""What a person is told about a run, from its logs and jobs."""

import re
from pathlib import Path

import pytest

from headsplat import codehash
from headsplat.config import pattern_among, pattern_of
from headsplat.fingerprint import fingerprint
from headsplat.operate import logs
from headsplat.operate.dag import Plan, PlannedJob
from headsplat.operate.plan import plan_table
from headsplat.operate.progress import describe, share_done
from headsplat.operate.reasons import explain_params
from headsplat.operate.stages import stages_of
from headsplat.operate.summary import DONE, FAILED, LEFT, Job, summary

ROOT = Path(__file__).resolve().parents[2]


def test_last_progress_and_failure_of_a_log(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("12:00:00 landmarks 3 10/63  3.4/s  16 s left\nWARNING: a library's own\n")
    progress = logs.last_progress(logs.tail(log))
    assert (progress.what, progress.done, progress.total) == ("landmarks 3", 10, 63)
    assert (progress.rate, progress.left) == (3.4, 16)
    assert describe("detect_chunk anna 003", log) == "detect_chunk anna 003 10/63 3.4/s 16 s"
    assert logs.failure(logs.tail(log)) is None
    log.write_text("12:00:00 step 120/3000  35.2 images/s  loss 0.01234  1200 s left\n")
    assert logs.last_progress(logs.tail(log)).done == 120
    log.write_text("error: a.mp4: not a video\n\n")
    assert logs.failure(logs.tail(log)) == "a.mp4: not a video"
    log.write_text("Traceback (most recent call last):\n  File x\nValueError: odd\n")
    assert logs.failure(logs.tail(log)) == "ValueError: odd"
    log.write_text("x" * 100_000 + "\nstopped; the same command continues\n")
    assert logs.stopped(logs.tail(log))
    assert logs.tail(tmp_path / "none.log") == []


def test_options_that_changed_are_named():
    old = ["'--steps 30 --batch 2'", "'0123456789ab'", "4"]
    new = ["'--steps 31 --batch 2'", "'ba9876543210'", "2"]
    names = {"'ba9876543210'": "code", "2": "chunks", new[0]: "options"}
    assert explain_params(old[:1], new[:1], names) == ["steps 30 -> 31"]
    assert explain_params(old[1:2], new[1:2], names) == ["code changed"]
    assert explain_params(old[2:], new[2:], names) == ["chunks changed to 2"]
    assert explain_params(["'--lpips 0.1'"], ["''"], {"''": "options"})[0] == "lpips 0.1 -> unset"


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
    log.write_text("one\nerror: no face; film one\n")
    silent = tmp_path / "none.log"
    jobs = [
        *(Job("train_avatar", f"good{n:03d}", None, DONE) for n in range(100)),
        Job("solve_crop", "bad", log, FAILED),
        Job("train_avatar", "bad", None, LEFT),
        Job("detect_chunk", "lost", silent, FAILED, "003"),
        Job("probe_video", "late", None, LEFT),
    ]
    lines = summary(jobs, stopped=True).splitlines()
    assert lines[0].startswith("done: good000, good001, ")
    assert lines[0].endswith(" and 92 more")
    assert lines[1:] == [
        "bad: FAILED in solve_crop; 1 job after it did not start",
        "    error: no face; film one",
        f"    log: {log}",
        "lost: FAILED in detect_chunk 003",
        f"    no log was written ({silent})",
        "not started, because the run was stopped: late",
    ]
    shared = [Job("build_cuda_ext", None, log, FAILED), Job("probe_video", "anna", None, LEFT)]
    text = summary(shared, stopped=False)
    assert "not finished, because build_cuda_ext failed: anna" in text


def test_the_share_done_weighs_jobs_by_their_costs():
    needed, costs = {"crop": 4, "train": 1}, {"crop": 10.0, "train": 160.0}
    assert share_done({"crop": 4}, needed, costs) == pytest.approx(0.2)
    assert share_done({"crop": 1}, {"crop": 4}, {}) == pytest.approx(0.25)
    assert share_done({}, {}, {}) == 1.0


@pytest.mark.parametrize("row", [{}, {"kind": "flashavatar", "folder": ".", "avatar": "a.pth"}])
def test_stages_are_rules_and_their_files(row):
    rules = "".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    for stage in stages_of(row):
        body = re.search(rf"^rule {stage.rule}:\n(.*?)(?=^\S|\Z)", rules, flags=re.M | re.S)[1]
        output = body[body.index("    output:") : body.index("    log:")]
        assert f'"{stage.output}"' in output, stage
        chunk = "/{chunk}" if stage.chunked else ""
        assert f'"logs/{{subject}}/{stage.rule}{chunk}.log"' in body


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
