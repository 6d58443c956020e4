"""Write a subject's one-page HTML report from the metrics and logs of the other stages."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.evaluate.report.write import Sources, write_report


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", required=True, help="name of the subject, the title")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json")
    parser.add_argument("--evaluation", type=Path, required=True, help="evaluation.npz")
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--head", type=Path, required=True, help="head model (.npz)")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    parser.add_argument("--frames-table", type=Path, required=True, help="frames.tsv")
    parser.add_argument("--info", type=Path, required=True, help="video.json")
    parser.add_argument("--voice", type=Path, required=True, help="voice.json")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the subject's logs")
    parser.add_argument(
        "--ground-truth", type=Path, help="ground_truth.npz, for the built-in clip only"
    )
    parser.add_argument("--refinement", type=Path, help="refinement.json of the track")
    parser.add_argument("--out", type=Path, required=True, help="report.html to write")
    args = vars(parser.parse_args(argv))
    subject, out = args.pop("subject"), args.pop("out")
    write_report(Sources(**args), subject, out)


if __name__ == "__main__":
    stage(main)
