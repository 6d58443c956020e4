"""Learn how a subject's mouth follows speech, from the track and the sound of its clip."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.options import add_arguments, parsed, schema_of
from headsplat.speech.learn import learn_voice
from headsplat.speech.options import VoiceOptions


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the clip")
    parser.add_argument("--video", type=Path, help="the clip's video, for its sound")
    add_arguments(parser, schema_of(VoiceOptions))
    parser.add_argument("--out", type=Path, required=True, help="voice.npz to write")
    parser.add_argument("--scores-out", type=Path, required=True, help="voice.json to write")
    args = parser.parse_args(argv)
    options = parsed(VoiceOptions, args)
    learn_voice(args.track, args.video, args.head, args.out, args.scores_out, options)


if __name__ == "__main__":
    stage(main)
