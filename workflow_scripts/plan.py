"""What a run would do: per subject and stage whether it runs, why, and what it took last time."""

import argparse
import json

from headsplat_workflow.aloud import aloud
from headsplat_workflow.dag import plan_run
from headsplat_workflow.plan import plan_table
from headsplat_workflow.stage import stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    parser.add_argument("--sdm", nargs="*", default=[], help="software deployment of the run")
    args = parser.parse_args()
    print(plan_table(plan_run(args.settings, args.sdm)))


if __name__ == "__main__":
    stage(aloud(main))
