"""Add the videos of a folder to the table of subjects, and print what was added and left out."""

import argparse
import json
from pathlib import Path

from headsplat_workflow.add_subjects import add_videos
from headsplat_workflow.stage import errors_to_stdout, stage
from headsplat_workflow.subjects import Subject, read_subjects

from headsplat.runtime.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    config = parser.parse_args().settings
    if config["videos"] is None:
        raise UserError(
            "videos: no folder is given; add --config videos=FOLDER, and perhaps suffix=WORD"
        )
    subjects = read_subjects(Path(config["subjects"]), config["presets"])
    head = Subject.head if Path(config["heads"]["ict"]).exists() else "procedural"
    for line in add_videos(subjects, config["videos"], config["suffix"], head, Subject.preset):
        print(line, flush=True)
    if head != Subject.head:
        print(
            f"{config['heads']['ict']} is not there, and faces look better with it: see "
            "docs/own-video.md, then change the column head"
        )


if __name__ == "__main__":
    stage(errors_to_stdout(main))
