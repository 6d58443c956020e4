"""Tracking on a GPU agrees with the CPU."""

import numpy as np
import pytest
import torch

from benchmarks.synthetic_tracks import detect, make_ground_truth, write_inputs
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track
from headsplat.tracking.run import track_head


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_devices_agree(tmp_path):
    head = procedural_head()
    head.save(tmp_path / "head.npz")
    ground_truth = make_ground_truth(head, 50, seed=5)
    write_inputs(tmp_path, *detect(head, ground_truth, missing=(20, 21)))
    names = ("head.npz", "landmarks.npz", "crop.json", "frames.tsv")
    tracks = []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.npz"
        paths = [tmp_path / name for name in names]
        track_head(*paths, out, tmp_path / "identity.npy", device=device)
        tracks.append(read_track(out))
    for name in ("R", "t", "exp", "jaw", "eyelids"):
        ours, theirs = (getattr(track, name) for track in tracks)
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
