"""Console output of a whole run, and of Snakemake's informational options."""

import re

import pytest

from .conftest import CONSOLE, Checkout

pytestmark = pytest.mark.slow


def test_console_of_a_run_is_short_and_names_the_results(finished: Checkout) -> None:
    said = (finished.folder / CONSOLE).read_text()
    lines = said.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    stages = re.findall(r"^ *(\d+)/(\d+)  (\w+) +(all subjects|demo) ", said, re.M)
    total = len(stages)
    assert [(int(n), int(of)) for n, of, _, _ in stages] == [
        (n, total) for n in range(1, total + 1)
    ]
    assert len({stage for _, _, stage, _ in stages}) == total
    assert re.search(r"^ *\d+/\d+  detect_chunk +demo +\d+ images/s +\d+(\.\d)? s$", said, re.M)
    assert re.search(
        r"\ndemo: done, PSNR \d+\.\d dB on held-out frames\n"
        r"    results/demo/avatar/report\.html\n    results/demo/export/web/demo\.html\n"
        r"    results/demo/avatar/test\.mp4\n    results/demo/driven/hello\.mp4\n$",
        said,
    )
    # The log file named on the console contains all of it, and Snakemake's job descriptions.
    log = re.search(r"; full log: (\S+)$", said, re.M)
    assert log is not None
    full = (finished.folder / log[1]).read_text()
    assert all(line in full for line in lines if re.match(r" *\d+/\d+  ", line))
    for stage in {stage for _, _, stage, _ in stages}:
        assert f"rule {stage}:" in full
    assert "Job stats" in full


def test_snakemakes_informational_options_print_their_output(finished: Checkout) -> None:
    dry = finished.snakemake("--forceall", "-n", "demo")
    assert "rule train_avatar:" in dry.stdout
    assert "This was a dry-run" in dry.stdout
    assert "Nothing to be done" in finished.snakemake("demo").stderr
    assert "in a good condition" in finished.snakemake("--lint").stderr
    plan = finished.snakemake("plan")
    assert plan.stdout.splitlines()[-1] == "nothing to do"
    assert "Select jobs" not in plan.stderr
