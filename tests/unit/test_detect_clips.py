"""Face detection on shortened real clips; skipped without the clips."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from headsplat.detect.chunk import detect_chunk, face_sharpness
from headsplat.detect.mediapipe_models import FaceModels, Region, region_around
from headsplat.detect.solve import solve_crop
from headsplat.detect.tracker import find_face
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.video.encode import VideoWriter
from headsplat.video.probe import probe_video


def clip_frames(shared: Path, name: str, count: int) -> list[np.ndarray]:
    frames = []
    with av.open(str(shared / "data" / "videos" / name)) as file:
        for frame in file.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                break
    return frames


def detect(frames: list[np.ndarray], folder: Path, chunks: int) -> list[Path]:
    video = folder / "clip.mp4"
    if not video.exists():
        height, width = frames[0].shape[:2]
        with VideoWriter(video, width, height, 25) as writer:
            for frame in frames:
                writer.write(frame)
        probe_video(video, folder / "video.json")
    outs = [folder / f"{chunks}_{chunk}.npz" for chunk in range(chunks)]
    for chunk, out in enumerate(outs):
        detect_chunk(video, folder / "video.json", chunk, chunks, out)
    return outs


def merged(paths: list[Path]) -> dict[str, np.ndarray]:
    parts = [read_npz(path) for path in paths]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def test_chunks_agree_with_a_run_over_the_whole_clip(shared: Path, tmp_path: Path) -> None:
    frames = clip_frames(shared, "talking_512p25.mp4", 60)
    whole, parts = (merged(detect(frames, tmp_path, n)) for n in (1, 3))
    np.testing.assert_array_equal(whole["face_frame"], np.arange(1, 61))
    np.testing.assert_array_equal(whole["face_frame"], parts["face_frame"])
    np.testing.assert_array_equal(whole["faces"], parts["faces"])
    np.testing.assert_array_equal(whole["blendshapes"], parts["blendshapes"])
    assert (whole["score"] > 0.9).all()


def test_small_face_in_a_large_image_is_never_lost(shared: Path, tmp_path: Path) -> None:
    video = shared / "data" / "videos" / "podium_1080p25.mp4"
    probe_video(video, tmp_path / "video.json")
    detect_chunk(video, tmp_path / "video.json", 0, 6, tmp_path / "0.npz")
    np.testing.assert_array_equal(read_npz(tmp_path / "0.npz")["face_frame"], np.arange(1, 43))


def test_bystander_is_not_the_subject_and_a_gap_is_marked(shared: Path, tmp_path: Path) -> None:
    subject = clip_frames(shared, "talking_512p25.mp4", 60)
    other = clip_frames(shared, "clean_480p30.mp4", 30)
    frames = []
    for k, image in enumerate(subject):
        frame = np.full((512, 1024, 3), 128, np.uint8)
        if not 45 <= k < 50:
            frame[:, :512] = image
        if 15 <= k < 45:
            frame[16:496, 528:1008] = other[k - 15]
        frames.append(frame)
    paths = detect(frames, tmp_path, 2)
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    solve_crop(tmp_path / "video.json", paths, *out, size=512)
    table = read_npz(out[2])
    status = table["status"]
    assert (status[45:50] == "no_face").all()
    assert np.isnan(table["points"][45:50]).all()
    assert (status == "no_face").sum() == 5
    assert (status[30:44] == "several_faces").all()
    assert (status[:10] == "ok").all()
    assert np.nanmax(table["points"][..., 0]) < 512


def test_too_small_face_is_refused(shared: Path, tmp_path: Path) -> None:
    video = shared / "data" / "videos" / "noface_720x1080p25.mp4"
    probe_video(video, tmp_path / "video.json")
    detect_chunk(video, tmp_path / "video.json", 0, 1, tmp_path / "0.npz")
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    with pytest.raises(UserError, match="no face in any frame is large enough"):
        solve_crop(tmp_path / "video.json", [tmp_path / "0.npz"], *out, size=512)
    assert not any(path.exists() for path in out)


@pytest.mark.parametrize("name", ["talking_512p25.mp4", "phone_portrait_720x1280p30.mp4"])
def test_landmark_origin_is_the_image_corner(shared: Path, name: str) -> None:
    models = FaceModels()
    sums = []
    for image in clip_frames(shared, name, 20):
        height, width = image.shape[:2]
        region = models.detect(image)[0].region
        for _ in range(4):
            points, _ = models.landmarks(image, region)
            region = region_around(points)
        opposite = (width - region.x, height - region.y, region.side, region.angle + np.pi)
        points, _ = models.landmarks(image, region)
        turned, _ = models.landmarks(image[::-1, ::-1], Region(*opposite))
        sums.append((points + turned)[:, :2].mean(axis=0) - (width, height))
    assert np.abs(np.mean(sums, axis=0)).max() < 0.8


def test_sharpness_falls_with_blur_and_not_with_size(shared: Path) -> None:
    image = clip_frames(shared, "talking_512p25.mp4", 1)[0]
    points = find_face(FaceModels(), image)
    sharp = face_sharpness(image, points)
    assert face_sharpness(cv2.GaussianBlur(image, (0, 0), 3), points) < 0.3 * sharp
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)
    assert face_sharpness(large, points * 2) == pytest.approx(sharp, rel=0.25)


def test_no_face_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    models = FaceModels()
    assert models.detect(noise) == []
