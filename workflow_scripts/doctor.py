"""Check the machine before a run: prints one table, and one line with the fix for each problem."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from headsplat_workflow.assets.needs import parse
from headsplat_workflow.doctor.folders import check_folders
from headsplat_workflow.doctor.requirements import (
    check_files,
    check_memory,
    check_snakemake,
    check_subjects,
    clip_frames,
    needed_mib,
)
from headsplat_workflow.stage import errors_to_stdout, stage
from headsplat_workflow.subjects import read_subjects

from headsplat.doctor.examine import LIBRARY_CHECKS, examine
from headsplat.doctor.finding import Finding


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    what = {"action": "append", "default": [], "metavar": "ASSET=PATH"}
    parser.add_argument("--required", **what, help="a file that must be there, e.g. ict=PATH")
    parser.add_argument("--optional", **what, help="a file that may be there")
    args = parser.parse_args(argv)
    config = args.settings
    subjects = read_subjects(Path(config["subjects"]), config["presets"])
    needs = [*parse(args.required, True), *parse(args.optional, False)]

    def places() -> Iterator[Finding]:
        frames = clip_frames(subjects, config["builtin"]["seconds"])
        yield from check_memory(max(frames, default=0))
        yield from check_folders(needed_mib(frames))

    examine(
        {
            "Snakemake": check_snakemake,
            "memory and disks": places,
            "subjects": lambda: check_subjects(subjects),
            "assets": lambda: check_files(needs),
            **LIBRARY_CHECKS,
        }
    )


if __name__ == "__main__":
    stage(errors_to_stdout(main))
