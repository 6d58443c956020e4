"""Identity stage with MICA: alignment, frame selection, and median."""

from zipfile import ZipFile

import cv2
import numpy as np
import pytest
import torch

from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameZipWriter
from headsplat.frames.table import FrameRow, write_frames
from headsplat.networks.mica import load_mica
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, write_npz
from headsplat.tracking.identity import (
    FIVE,
    TEMPLATE,
    aligned_face,
    choose_frames,
    similarity,
    solve_identity,
    template_error,
)


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def test_similarity_is_recovered_and_never_mirrors():
    ground_truth = turned(0.4, 2.3, (31, -7))
    moved = TEMPLATE @ ground_truth[:, :2].T + ground_truth[:, 2]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), ground_truth, atol=1e-9)
    assert template_error(moved) < 1e-9
    mirrored = TEMPLATE * (-1, 1)
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0
    assert template_error(mirrored) > 5


def test_a_face_is_cut_out_onto_the_template():
    image = np.zeros((300, 400, 3), np.uint8)
    pose = turned(-0.3, 1.7, (120, 80))
    five = TEMPLATE @ pose[:, :2].T + pose[:, 2] + 0.5  # continuous pixels
    for k, (x, y) in enumerate(five - 0.5):
        color = np.eye(3)[k % 3] * 255
        cv2.circle(image, (round(x * 16), round(y * 16)), 6 * 16, color.tolist(), -1, shift=4)
    face = aligned_face(image, five)
    assert face.shape == (112, 112, 3)
    for k, point in enumerate(TEMPLATE):
        channel = face[..., k % 3].astype(float)
        y, x = np.mgrid[:112, :112]
        near = np.hypot(x - point[0], y - point[1]) < 8
        weight = channel * near
        center = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(center, point, atol=0.35)


def test_the_best_frame_of_each_part_is_chosen():
    ids = np.arange(1, 65)
    five = np.repeat(TEMPLATE[None], 64, 0)
    five[:, 2, 0] += 25  # a turned head: the nose is aside
    frontal = np.arange(2, 64, 4)
    five[frontal] = TEMPLATE
    five[0] = np.nan
    confidence = np.full(64, 0.9)
    confidence[frontal[3]] = 0.01
    chosen = choose_frames(ids, five, confidence)
    assert len(chosen) == 16
    assert set(chosen) - set(ids[frontal]) == {chosen[3]}
    assert len(choose_frames(ids[:4], five[:4], confidence[:4])) == 3
    assert len(choose_frames(ids[:0], five[:0], confidence[:0])) == 0


@pytest.fixture
def clip(tmp_path):
    """Three frames of one face, of which one is useless."""
    rng = np.random.default_rng(2)
    crop = Crop(100, 50, 256, 128, 640, 480)
    points = np.full((4, 478, 3), np.nan, np.float32)
    pose = turned(0.1, 1.4, (140, 90))
    for k in (0, 1, 3):
        points[k] = 300
        points[k, list(FIVE), :2] = TEMPLATE @ pose[:, :2].T + pose[:, 2] + k
    write_npz(tmp_path / "landmarks.npz", ids=np.arange(1, 5, dtype=np.int32), points=points)
    crop.save(tmp_path / "crop.json")
    statuses = ("ok", "ok", "no_face", "clipped")
    rows = [FrameRow(k + 1, k / 25, s, 0.9, 1) for k, s in enumerate(statuses)]
    write_frames(tmp_path / "frames.tsv", rows)
    coarse = rng.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    with publish(tmp_path / "000.zip") as path, FrameZipWriter(path, ".jpg") as pack:
        for k in range(4):
            pack.add(k + 1, encode_jpeg(cv2.resize(coarse[k], (128, 128))))
    return tmp_path


def arguments(folder):
    names = ("landmarks.npz", "crop.json", "frames.tsv")
    return [folder / "000.zip"], *(folder / name for name in names)


def test_the_code_is_the_median_over_usable_frames(clip, mica):
    solve_identity(*arguments(clip), mica[1], clip / "mica.npy")
    code = np.load(clip / "mica.npy")
    assert code.shape == (300,)
    assert code.dtype == np.float32
    network = load_mica(mica[1])
    points = np.load(clip / "landmarks.npz")["points"]
    five = Crop.load(clip / "crop.json").points(points[:, list(FIVE), :2])
    codes = []
    with ZipFile(clip / "000.zip") as store:
        for k in (0, 1):
            face = aligned_face(decode_image(store.read(f"{k + 1:05d}.jpg")), five[k])
            assert face.std() > 10
            image = torch.from_numpy(face).permute(2, 0, 1)[None].float()
            with torch.no_grad():
                codes.append(network((image - 127.5) / 127.5)[0].numpy())
    assert np.abs(codes[0] - codes[1]).max() > 1e-3
    np.testing.assert_allclose(code, np.median(codes, 0), atol=1e-4)


def test_a_clip_without_a_usable_face_is_one_line(clip, mica):
    rows = [FrameRow(k + 1, k / 25, "no_face", 0.0, 0) for k in range(4)]
    write_frames(clip / "frames.tsv", rows)
    with pytest.raises(UserError, match=r"frames.tsv: no frame shows a face"):
        solve_identity(*arguments(clip), mica[1], clip / "mica.npy")
    assert not (clip / "mica.npy").exists()
