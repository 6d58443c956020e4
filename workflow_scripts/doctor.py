"""Look over the machine before a run: one table, and one line with its cure for what is wrong."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from headsplat_workflow.aloud import aloud
from headsplat_workflow.assets.needs import parse
from headsplat_workflow.config import read_subjects
from headsplat_workflow.doctor.assets import check_files
from headsplat_workflow.doctor.folders import check_folders
from headsplat_workflow.doctor.machine import check_machine
from headsplat_workflow.doctor.run import examine
from headsplat_workflow.doctor.subjects import check_subjects
from headsplat_workflow.stage import stage

from headsplat.doctor.compilers import check_cxx
from headsplat.doctor.finding import Finding
from headsplat.doctor.software import check_libraries, check_snakemake


def gpus() -> Iterator[Finding]:
    """Imported late, as the two below: a library that does not load is a finding of its own."""
    from headsplat.doctor.gpu import check_gpus

    return check_gpus()


def operators() -> Iterator[Finding]:
    """As above."""
    from headsplat.doctor.operators import check_operators

    return check_operators()


def onnx() -> Iterator[Finding]:
    """As above."""
    from headsplat.doctor.networks import check_onnx

    return check_onnx()


def detector() -> Iterator[Finding]:
    """As above."""
    from headsplat.doctor.networks import check_detector

    return check_detector()


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
        from headsplat_workflow.doctor.space import clip_frames, needed_mib

        frames = clip_frames(subjects, config["builtin"]["seconds"])
        yield from check_machine(max(frames, default=0))
        yield from check_folders(needed_mib(frames))

    examine(
        {
            "Snakemake": check_snakemake,
            "C++ compiler": check_cxx,
            "libraries": check_libraries,
            "folders": places,
            "subjects": lambda: check_subjects(subjects),
            "assets": lambda: check_files(needs),
            "GPU": gpus,
            "operators": operators,
            "ONNX Runtime": onnx,
            "face detector": detector,
        }
    )


if __name__ == "__main__":
    stage(aloud(main))
