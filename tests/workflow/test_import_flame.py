"""Imports of folders with FLAME codes run through the real rules and end in an avatar."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore
from headsplat.heads.model import HeadModel
from headsplat.track import read_track

from .conftest import TINY, Checkout, copy_repository
from .foreign_clips import (
    SIZE,
    Studio,
    make_motion,
    write_flame_head_tracker,
    write_imavatar,
    write_vhap,
)

pytestmark = pytest.mark.slow
COUNT = 70
KINDS = {
    "vhap": write_vhap,
    "imavatar": write_imavatar,
    "flame-head-tracker": write_flame_head_tracker,
}


def put_flame(shared: Path, folder: Path) -> None:
    """Write the public side files, and a synthetic stand-in for the licensed FLAME model."""
    folder.mkdir(parents=True)
    for file in (shared / "assets/flame_public").iterdir():
        (folder / file.name).symlink_to(file)
    standin = shared / "assets/flame_standin"
    build = runpy.run_path(str(standin / "make_generic_model.py"))["build"]
    modules = set(sys.modules)
    try:
        # Chumpy arrays identify FLAME 2020.
        model = pickle.dumps(build(standin / "flame_standin.npz"), protocol=2)
    finally:
        for name in set(sys.modules) - modules:
            if name.startswith("chumpy"):
                del sys.modules[name]
    (folder / "generic_model.pkl").write_bytes(model)


@pytest.fixture(scope="module")
def imported(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, dict]:
    """A copy in which three imports were trained, and the cameras that they must have."""
    checkout = copy_repository(tmp_path_factory.mktemp("foreign") / "headsplat")
    folder = checkout.folder
    put_flame(shared, folder / "assets/flame")
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"] |= {"chunks": 1, "crop": {"size": SIZE}}
    tiny["presets"]["preview"]["train"] |= {"steps": 15, "gaussians": 800}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    rows = [
        f"{kind}\t-\tflame\tpreview\t{kind}:foreign/{kind}\t{'2020' if kind == 'vhap' else ''}"
        for kind in KINDS
    ]
    header = "subject\tvideo\thead\tpreset\timport\tflame_version"
    table = folder / "config/subjects.tsv"
    for kind in KINDS:
        (folder / "foreign" / kind).mkdir(parents=True)
    table.write_text("\n".join([header, *rows]) + "\n")
    result = checkout.snakemake("work/heads/flame.npz")
    assert result.returncode == 0, result.stdout + result.stderr

    studio, motion = Studio(HeadModel.load(folder / "work/heads/flame.npz")), make_motion(COUNT)
    ground_truth = {}
    for kind, write in KINDS.items():
        (folder / "foreign" / kind).rmdir()
        ground_truth[kind] = write(folder / "foreign" / kind, motion, studio)
    targets = [f"results/{kind}/avatar/model" for kind in KINDS]
    planned = checkout.planned(*targets)
    assert planned["import_track"] == planned["solve_trunk"] == 3
    assert planned["import_alpha_chunk"] == 2
    assert planned["import_parsing_chunk"] == planned["matte_chunk"] == 1
    assert planned["parse_chunk"] == 2
    result = checkout.snakemake(*targets)
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout, ground_truth


@pytest.mark.parametrize("kind", KINDS)
def test_flame_import_ends_in_an_avatar(imported: tuple[Checkout, dict], kind: str) -> None:
    checkout, ground_truth = imported
    track = read_track(checkout.folder / "work" / kind / "track/track.npz")
    R, t, K = ground_truth[kind]
    motion = make_motion(COUNT)
    assert track.ids.tolist() == list(range(1, COUNT + 1))
    np.testing.assert_allclose(track.R, R, atol=1e-6)
    np.testing.assert_allclose(track.t, t, atol=1e-6)
    np.testing.assert_allclose(track.K, K, rtol=1e-6)
    np.testing.assert_allclose(track.exp, motion.exp, atol=1e-6)
    np.testing.assert_allclose(track.shape, motion.shape, atol=1e-6)
    training = json.loads(
        (checkout.folder / "results" / kind / "avatar/model/training.json").read_text()
    )
    assert training["steps"] == 15


def test_imported_masks_equal_the_folders(imported: tuple[Checkout, dict]) -> None:
    folder = imported[0].folder
    for kind, name in (("vhap", "fg_masks/00006_00.png"), ("imavatar", "mask/7.png")):
        expected = decode_image((folder / "foreign" / kind / name).read_bytes())
        with FrameStore([folder / "work" / kind / "alpha/000.zip"]) as alpha:
            np.testing.assert_array_equal(decode_image(alpha.read(7)), expected)
    labels = decode_image((folder / "foreign/imavatar/semantic/7.png").read_bytes())
    with FrameStore([folder / "work/imavatar/parsing/000.zip"]) as parsing:
        for role, inside in (("_neckhead", labels > 0), ("_mouth", labels == 12)):
            mask = decode_image(parsing.read(7, role))
            np.testing.assert_array_equal(mask > 0, inside)
    assert inside.any()
