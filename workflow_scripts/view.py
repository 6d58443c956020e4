"""Serve a subject's page on this machine until it is stopped."""

import argparse
import asyncio
import json
from pathlib import Path

from headsplat_workflow.stage import errors_to_stdout, stage
from headsplat_workflow.subjects import read_subjects

from headsplat.live.options import InputOptions
from headsplat.options import check_ranges
from headsplat.runtime import watchdog_launcher
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.process import exit_now
from headsplat.view.files import project_files
from headsplat.view.options import ViewOptions, phone_schema
from headsplat.view.run import serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="configuration, JSON")
    settings = parser.parse_args().settings
    given = settings["view"]
    subjects = read_subjects(Path(settings["subjects"]), settings["presets"])
    name = given["subject"] or next(iter(subjects), None)
    if name not in subjects:
        known = ", ".join(subjects)
        raise UserError(f"view.subject '{shown(str(name))}': no such subject; one of {known}")
    options = ViewOptions(**{k: v for k, v in given.items() if k in ViewOptions.__match_args__})
    phone = InputOptions(**{k: v for k, v in given.items() if k in phone_schema()})
    check_ranges(options)
    check_ranges(phone)
    asyncio.run(serve(project_files(Path.cwd(), name), options, phone))
    # A thread that still reads an avatar would keep the process for seconds.
    watchdog_launcher.stop()
    exit_now(0)


if __name__ == "__main__":
    stage(errors_to_stdout(main))
