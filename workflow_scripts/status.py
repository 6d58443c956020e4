"""How far every subject is: stages and chunks done, what runs, what failed and why, sizes."""

import argparse
import json
from pathlib import Path

from headsplat_workflow.aloud import aloud
from headsplat_workflow.config import merged, read_subjects
from headsplat_workflow.stage import stage
from headsplat_workflow.state import read_subject, run_is_active
from headsplat_workflow.status import status_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    args = parser.parse_args()
    config = args.settings
    subjects = read_subjects(Path(config["subjects"]), config["presets"])
    chunks = {name: merged(config, preset)["chunks"] for name, preset in config["presets"].items()}
    active = run_is_active()
    states = (
        read_subject(name, row, chunks[row["preset"]], active) for name, row in subjects.items()
    )
    print(status_table(states, subjects.refused))


if __name__ == "__main__":
    stage(aloud(main))
