"""Photometric refinement on a GPU agrees with the CPU."""

import numpy as np
import pytest
import torch

from benchmarks.photometric import run
from benchmarks.synthetic_clips import Footage, SyntheticClip
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track
from headsplat.tracking.photometric.run import refine_track


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_devices_agree(tmp_path):
    clip = SyntheticClip(procedural_head(), 40, Footage(size=256), seed=1)
    result = run(clip, tmp_path, "cuda", "always")
    before, after = result["before"], result["after"]
    assert after["turn_spread_degrees"] < 0.8 * before["turn_spread_degrees"]
    names = ("head.npz", "landmark_track.npz", "landmarks.npz", "crop.json", "frames.tsv")
    zips = [sorted((tmp_path / name).glob("*.zip")) for name in ("frames", "alpha")]
    out = tmp_path / "cpu.npz"
    rest = (tmp_path / "i.npy", tmp_path / "refinement.json")
    inputs = (tmp_path / name for name in names)
    refine_track(*inputs, *zips, out, *rest, mode="always", device="cpu")
    ours, theirs = read_track(out), read_track(tmp_path / "track.npz")
    for name in ("R", "t", "exp", "jaw"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=5e-3)
