"""The benchmark of quality: names of methods, renders of other tools, the page's table."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from benchmarks.quality import official, options_of
from benchmarks.quality_table import quality_rows, quality_table
from headsplat.runtime.errors import UserError


def test_a_method_names_its_options():
    assert options_of("default") == {}
    assert options_of("flashavatar+batch=4") == {"model": "flashavatar", "batch": 4}
    assert options_of("default+code_noise=0.5+body=none") == {"code_noise": 0.5, "body": "none"}
    with pytest.raises(UserError, match="'nerf' is no model"):
        options_of("nerf")


@pytest.fixture
def clip():
    track = SimpleNamespace(ids=np.array([3, 4, 5]), width=8, height=6)
    return SimpleNamespace(
        track=track, held_out=torch.tensor([0, 2]), planes=torch.zeros(3, 6, 8, 5)
    )


def test_renders_of_another_tool_are_read_by_frame_id(tmp_path, clip):
    for frame in (3, 5):
        image = np.full((6, 8, 3), (0, 51, frame), np.uint8)  # blue, green, red
        cv2.imwrite(str(tmp_path / f"{frame:05d}.png"), image)
    images = official(tmp_path, clip)(torch.tensor([2, 0]))
    assert images.shape == (2, 6, 8, 3)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor([5, 3]) / 255)
    torch.testing.assert_close(images[..., 1], torch.full((2, 6, 8), 0.2))


def test_missing_and_odd_renders_are_refused(tmp_path, clip):
    cv2.imwrite(str(tmp_path / "00003.png"), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"1 of 2 held-out frames are missing, 00005\.png"):
        official(tmp_path, clip)
    cv2.imwrite(str(tmp_path / "00005.png"), np.zeros((6, 9, 3), np.uint8))
    with pytest.raises(UserError, match=r"00005\.png: 9x6 pixels instead of 8x6"):
        official(tmp_path, clip)(torch.tensor([2]))
    (tmp_path / "00005.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"00005\.png"):
        official(tmp_path, clip)(torch.tensor([2]))


def test_the_table_has_means_and_spreads():
    runs = [
        {
            "clip": "anna", "method": "default", "seed": seed, "machine": "GPU", "seconds": 5.0,
            "metrics": {"psnr_head": head, "psnr_head_train": 40.0, "static_flicker": 0.002},
        }
        for seed, head in enumerate((34.0, 35.0, 36.0))
    ]  # fmt: skip
    runs.append({"clip": "anna", "method": "peer", "machine": "GPU", "metrics": {"psnr_head": 30}})
    lines = quality_table(runs)
    assert lines[0].split(" | ")[:2] == ["| clip: method", "PSNR head"]
    assert lines[2].startswith("| anna: default | 35.00 ± 1.00 | 5.0 | 2.00 | 5.0 |")
    assert lines[3].startswith("| anna: peer | 30.00 |  |  |  |")
    assert [row["value"] for row in quality_rows(runs)] == [35.0, 30]
