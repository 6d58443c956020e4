"""Write the built-in sentence, in the built-in voice, as a wav file."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.synthetic.score import write_hello


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help=".wav to write")
    write_hello(parser.parse_args(argv).out)


if __name__ == "__main__":
    stage(main)
