"""Face re-identification: other people are removed, changes of the recording are not."""

import logging
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from headsplat.detect.chunk import detect_chunk
from headsplat.detect.face_colors import FACE_PIXELS, face_colors
from headsplat.detect.solve import solve_crop
from headsplat.runtime.files import read_npz
from headsplat.synthetic import clip, scene
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.head.paint import Person
from headsplat.synthetic.parameters import sample_identity
from headsplat.video.encode import VideoWriter
from headsplat.video.probe import probe_video

SIZE = 320
FAIR = Person(
    skin=(0.92, 0.76, 0.68), hair=(0.75, 0.60, 0.35), brows=(0.60, 0.48, 0.32),
    iris=(0.30, 0.50, 0.70), brow_width=3.8, brow_lift=-1.0,
)  # fmt: skip
DARK = Person(
    skin=(0.42, 0.27, 0.20), lips=(0.45, 0.25, 0.24), hair=(0.05, 0.04, 0.04),
    brows=(0.06, 0.05, 0.04), iris=(0.20, 0.12, 0.08), brow_width=6.5, brow_lift=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Two seconds of two built-in subjects, forwards and back: (50, 320, 320, 3) uint8 each."""
    folder = tmp_path_factory.mktemp("people")
    procedural_head().save(folder / "head.npz")
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        for seed, person in ((7, FAIR), (9, DARK)):
            patch.setattr(scene, "PERSON", person)
            patch.setattr(
                clip, "sample_identity", lambda model, seed=seed: sample_identity(model, seed)
            )
            video = folder / f"{seed}.mp4"
            clip.render_clip(folder / "head.npz", video, folder / "t.npz", seconds=1.0, size=SIZE)
            frames = decoded(video)
            shown.append(np.concatenate([frames, frames[::-1]]))
    return shown[0], shown[1]


def decoded(video: Path) -> np.ndarray:
    with av.open(str(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def solved(frames: np.ndarray, folder: Path, chunks: int = 2) -> dict[str, np.ndarray]:
    """The subject's landmark file of a clip that is encoded to a video."""
    video = folder / "clip.mp4"
    with VideoWriter(video, frames.shape[2], frames.shape[1], 25) as writer:
        for frame in frames:
            writer.write(frame)
    probe_video(video, folder / "video.json")
    parts = [folder / f"{chunk}.npz" for chunk in range(chunks)]
    for chunk, part in enumerate(parts):
        detect_chunk(video, folder / "video.json", chunk, chunks, part)
    out = folder / "landmarks.npz"
    solve_crop(folder / "video.json", parts, folder / "c.json", folder / "f.tsv", out, SIZE)
    return read_npz(out)


def zoomed(frames: np.ndarray, factor: float, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    middle = SIZE / 2
    move = np.array([[factor, 0, middle * (1 - factor)], [0, factor, middle * (1 - factor)]])
    move[:, 2] += shift
    edge = cv2.BORDER_REPLICATE
    return np.stack([cv2.warpAffine(f, move, (SIZE, SIZE), borderMode=edge) for f in frames])


def test_another_person_is_removed_and_logged(people, tmp_path, caplog):
    first, second = people
    with caplog.at_level(logging.INFO):
        found = solved(np.concatenate([first, second, first]), tmp_path, 3)
    expected = np.array(["ok"] * 50 + ["another_person"] * 50 + ["ok"] * 50)
    assert (found["status"] != expected).sum() <= 2
    assert np.isnan(found["points"][52:98]).all()
    assert (found["confidence"][52:98] == 0).all()
    lines = [line for line in caplog.messages if line.startswith("another person from ")]
    assert len(lines) == 1
    assert lines[0].startswith("another person from 2.0 s to 4.0 s: ")


def test_one_person_cropped_zoomed_relit_and_mirrored_is_one_identity(people, tmp_path):
    person = people[0]
    light = np.linspace(0.5, 1.2, SIZE)[:, None]
    relit = np.clip(person[::2] * light, 0, 255).astype(np.uint8)
    warm = np.clip(person[:25] * np.array([1.1, 1.0, 0.7]), 0, 255).astype(np.uint8)
    mirrored = person[:25, :, ::-1]
    shots = [person, zoomed(person, 1.3, (20, 0)), relit, warm, mirrored]
    found = solved(np.concatenate(shots), tmp_path)
    assert not np.isin(found["status"], ("another_person", "no_face")).any()


def test_people_who_swap_places_keep_their_identity(people, tmp_path):
    first, second = (zoomed(frames, 1.3) for frames in people)
    before = np.concatenate([first, second], axis=2)
    after = np.concatenate([second, first], axis=2)
    found = solved(np.concatenate([before, before, after]), tmp_path)
    left = np.nanmean(found["points"][..., 0], axis=1) < SIZE
    assert (found["status"] == "several_faces").mean() > 0.9
    seen = np.isfinite(found["points"][:, 0, 0])
    assert seen.mean() > 0.97
    assert len(set(left[:95][seen[:95]])) == len(set(left[105:][seen[105:]])) == 1
    assert left[50] != left[120]


def test_larger_photograph_on_the_wall_is_not_the_subject(people, tmp_path):
    living, image = people[0], zoomed(people[1][10:11], 1.2)
    wall = np.repeat(image, len(living), axis=0)
    beside = np.concatenate([living, wall], axis=2)
    found = solved(np.concatenate([beside, beside, beside]), tmp_path)
    assert (found["status"] == "several_faces").mean() > 0.9
    assert np.nanmax(found["points"][..., 0]) < SIZE


def test_photograph_without_a_living_face_is_the_subject(people, tmp_path):
    found = solved(np.repeat(people[0][10:11], 110, axis=0), tmp_path)
    assert (found["status"] == "ok").all()


def test_face_colors_do_not_depend_on_size():
    points = np.random.default_rng(0).uniform(0.2, 0.8, (478, 3))
    for size in (48, 300):
        ramp = (np.arange(size) + 0.5) / size * 255
        image = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 77.0), -1).astype(np.uint8)
        colors = face_colors(image, points * size).astype(float)
        assert colors.shape == (468, 3)
        assert np.abs(colors[:, :2] - points[:468, :2] * 255).max() < 255 / FACE_PIXELS + 2
        assert (colors[:, 2] == 77).all()
    outside = face_colors(image, points * size + 1e4)
    assert (np.abs(outside[:, :2].astype(int) - 255) <= 2).all()
