"""Import FLAME: generic_model.pkl and its public side files -> a head model, without chumpy."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from headsplat_workflow.assets.locate import unpacked
from headsplat_workflow.stage import stage

from headsplat.heads.flame import FlameFiles, import_flame_head


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="generic_model.pkl, 2020 or 2023, or its zip"
    )
    parser.add_argument("--mesh", type=Path, required=True, help="FlameMesh.obj (UV, 10,006 faces)")
    parser.add_argument("--masks", type=Path, required=True, help="FLAME_masks.pkl, or its zip")
    parser.add_argument("--landmarks", type=Path, required=True, help="landmark_embedding.npy")
    parser.add_argument(
        "--mediapipe", type=Path, required=True, help="mediapipe_landmark_embedding.npz"
    )
    parser.add_argument(
        "--eyelids", type=Path, required=True, help="folder with l_eyelid.npy and r_eyelid.npy"
    )
    parser.add_argument("--out", type=Path, required=True, help="head model .npz to write")
    args = vars(parser.parse_args(argv))
    out = args.pop("out")
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(unpacked(path, f"flame_{name}"))
            for name, path in args.items()
        }
        import_flame_head(FlameFiles(**files), out)


if __name__ == "__main__":
    stage(main)
