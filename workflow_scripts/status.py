"""Print every subject's progress: stages and chunks done, running jobs, failures, disk use."""

import argparse
import json
from pathlib import Path

from headsplat_workflow.clip_length import chunk_count, clip_seconds
from headsplat_workflow.config import merged
from headsplat_workflow.stage import errors_to_stdout, stage
from headsplat_workflow.state import read_subject, run_is_active
from headsplat_workflow.status import status_table
from headsplat_workflow.subjects import read_subjects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    args = parser.parse_args()
    config = args.settings
    subjects = read_subjects(Path(config["subjects"]), config["presets"])
    chunks = {name: merged(config, preset)["chunks"] for name, preset in config["presets"].items()}
    builtin, active = config["builtin"]["seconds"], run_is_active()
    states = (
        read_subject(
            subject, chunk_count(chunks[subject.preset], clip_seconds(subject, builtin)), active
        )
        for subject in subjects.values()
    )
    print(status_table(states, subjects.refused))


if __name__ == "__main__":
    stage(errors_to_stdout(main))
