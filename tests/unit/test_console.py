"""What a person sees of a real run of Snakemake, in a pipe and on a terminal."""

import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from headsplat_workflow.console import log
from headsplat_workflow.run_jobs import RunJob, RunPlan, Stage
from headsplat_workflow.stage_lines import StageLines

from . import toy_run

COLUMNS = 60


def stage(name: str, subject: str, text: str) -> str:
    return rf"^ *{name} +{subject} +{text}$"


def test_a_line_per_stage_a_failure_once_and_the_rest_in_the_log(tmp_path):
    toy_run.write(tmp_path)
    result = toy_run.run(tmp_path)
    assert result.returncode == 1
    said = result.stderr
    full = next((tmp_path / ".snakemake/log").iterdir())
    assert f"9 jobs in 6 stages of 3 subjects; full log: {full.relative_to(tmp_path)}\n" in said
    for subject in ("anna", "ben", "carl"):
        assert re.search(stage(r"[1234]/6  detect_chunk", subject, r"\d+ images/s +\d\.\d s"),
                         said, re.M)  # fmt: skip
    assert re.search(stage(r"[234]/6  write_report", "anna", r"\d\.\d s"), said, re.M)
    failed = re.findall(stage("write_report", "ben", r"(.*)"), said, re.M)
    assert [text.split(" after ")[0] for text in failed] == ["FAILED", "tried again", "FAILED"]
    killed = stage("write_report", "carl", r"FAILED after .* s: died with <Signals.SIGKILL: 9>\.")
    assert len(re.findall(killed, said, re.M)) == 2
    assert re.search(
        r"\n7 of 9 jobs done in .*\nanna: done\n    results/anna/report.html\n"
        r"ben: FAILED in write_report\n    error: no \\x1b\[31mface; take another\n"
        r"    log: logs/ben/write_report.log\n"
        r"carl: FAILED in write_report\n    died with <Signals.SIGKILL: 9>\.\n"
        r"    no log was written \(logs/carl/write_report.log\)\n$",
        said,
    )
    assert said.count("error: ") == 1
    assert "\x1b" not in said
    assert re.search(r"^     \d of 9 jobs, time left unknown \| detect_chunk ", said, re.M)
    assert max(map(len, said.splitlines())) <= 120
    for words in (
        "Job stats", "Using shell", "rule detect_chunk:", "reason: Missing output", "Error in rule",
        "CalledProcessError", "Exiting because a job execution failed", "At least one job did not",
    ):  # fmt: skip
        assert words not in said
        assert words in full.read_text()
    assert "write_report  anna" in full.read_text()


def test_what_was_done_before_is_one_number(tmp_path):
    toy_run.write(tmp_path)
    target = "results/anna/report.html"
    assert toy_run.run(tmp_path, target, "--quiet", "all").stderr == ""
    assert "Nothing to be done" in toy_run.run(tmp_path, target).stderr
    (tmp_path / target).unlink()
    result = toy_run.run(tmp_path, target)
    assert result.returncode == 0
    assert "1 job in 1 stage, 2 jobs done already; full log: " in result.stderr
    assert len(re.findall(r"^\d/\d ", result.stderr, re.M)) == 1


def test_what_was_asked_of_snakemake_is_answered_by_snakemake(tmp_path):
    toy_run.write(tmp_path)
    dry = toy_run.run(tmp_path, "-n").stdout
    assert dry.count("rule detect_chunk:") == 6
    assert "This was a dry-run" in dry
    target = "results/anna/report.html"
    loud = toy_run.run(tmp_path, "--verbose", target).stderr
    for words in ("Job stats", "rule detect_chunk:", "Finished jobid", "2/2", "anna: done"):
        assert words in loud, words


@pytest.mark.parametrize("quiet", ["progress", "all"])
def test_quiet_never_hides_a_failure(tmp_path, quiet):
    toy_run.write(tmp_path)
    said = toy_run.run(tmp_path, "results/ben/report.html", "--quiet", quiet).stderr
    assert "ben: FAILED in write_report\n    error: no " in said
    assert not re.search(r"^\d/\d ", said, re.M)
    assert "| detect_chunk" not in said


def on_terminal(folder: Path, *arguments: str) -> str:
    """What a run writes to a terminal."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        toy_run.command(*arguments), cwd=folder, env=toy_run.environment(folder),
        stdin=subprocess.DEVNULL, stdout=side, stderr=side,
    )  # fmt: skip
    os.close(side)
    said = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return said.decode()


def test_the_live_line_of_a_terminal_is_one_line_and_goes_away(tmp_path):
    toy_run.write(tmp_path)
    said = on_terminal(tmp_path, "results/anna/report.html")
    lines = said.split("\r\n")
    drawn = [line for line in lines if "\r" in line]
    assert drawn, said
    states = [state for line in drawn for state in line.split("\r")]
    assert any(state.startswith("0 of 3 jobs, time left unknown") for state in states)
    assert max(map(len, states)) < COLUMNS
    # What is left of each line when all is drawn: nothing of the live one.
    left = [line.rpartition("\r")[2] for line in lines]
    assert not any("| detect_chunk" in line for line in left)
    assert "anna: done" in left


def test_what_a_cluster_says_about_a_job_is_passed_on(caplog, tmp_path):
    jobs = [RunJob(None, n, f"rule{n}", "anna", stage=(f"rule{n}", "anna")) for n in range(3)]
    jobs[2].log = tmp_path / "rule2.log"
    (tmp_path / "rule2.tsv").write_text("s\tmax_rss\n12.3\t1\n")
    stages = {job.stage: Stage([job], {job.key}, 1) for job in jobs}
    lines = StageLines(RunPlan({job.key: job for job in jobs}, stages), lambda subject: 100)

    def event(kind: LogEvent, **fields: object) -> None:
        lines.handle(logging.makeLogRecord({"event": kind, **fields}))

    caplog.set_level(logging.INFO, logger=log.name)
    # A cluster's executor says what it starts; of a group, the group's number alone.
    event(LogEvent.JOB_STARTED, jobs=[0, "group"])
    said = "SLURM-job '7' failed, SLURM status is: 'CANCELLED'. "
    further = "For further error details see the cluster/cloud log and the log files."
    event(LogEvent.JOB_ERROR, jobid=0, rule_msg=said + further, indent=False)
    event(LogEvent.JOB_STARTED, jobs=[0])
    event(LogEvent.JOB_FINISHED, job_id=0)
    event(LogEvent.GROUP_ERROR, job_error_info=[{"jobid": 1}, {"jobid": 2}])
    event(LogEvent.JOB_ERROR, jobid=1, rule_msg=None, indent=True)
    event(LogEvent.JOB_ERROR, jobid=9, rule_msg=None, indent=False)  # of no stage: a target
    event(LogEvent.JOB_FINISHED, job_id=2)
    assert [re.sub(" +", " ", record.message) for record in caplog.records] == [
        f" rule0 anna FAILED after 0.0 s: {said.strip()}",
        " rule0 anna tried again",
        "1/3 rule0 anna 0.0 s",
        " rule1 anna FAILED",
        " rule2 anna FAILED",
        "2/3 rule2 anna 12 s",
    ]
    assert lines.reasons == {1: "", 2: ""}
