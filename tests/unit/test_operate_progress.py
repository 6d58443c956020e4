"""The line of progress beside a real run of Snakemake."""

import re

from . import toy_run

RULES = """
rule all:
    input: "b"
rule first:
    output: "a"
    log: "logs/x/first.log"
    benchmark: "logs/x/first.tsv"
    shell: "echo '12:00:00 parts 1/10  0.1/s  600 s left' > {log}; sleep 1.5; touch {output}"
rule second:
    input: "a"
    output: "b"
    shell: "sleep 1.5; touch {output}"
"""


def test_a_run_says_what_its_stages_say_and_what_their_like_took(tmp_path):
    toy_run.write(tmp_path, RULES)
    (tmp_path / "logs/y").mkdir(parents=True)
    (tmp_path / "logs/y/second.tsv").write_text("s\tmax_rss\n4000.0\t1\n")
    run = toy_run.run(tmp_path)
    assert run.returncode == 0, run.stderr
    lines = re.findall(r"^ +(\S+ [01] of 2 jobs, .*)$", run.stderr, flags=re.M)
    # The second takes 66 minutes by what its like took, the first says ten of its own.
    assert any(line == "0%, 0 of 2 jobs, 77 min left | first 1/10 0.1/s 10 min" for line in lines)
    assert re.fullmatch(r"0%, 1 of 2 jobs, 6\d min left \| second", lines[-1])
