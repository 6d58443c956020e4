"""Public API: lazy names, portable avatars, and one-line errors."""

import ast
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import headsplat
from headsplat.heads.flame import _LICENCE as FLAME
from headsplat.heads.ict.build import LICENCE as ICT
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz
from headsplat.track import write_track
from headsplat.video.encode import VideoWriter
from headsplat.video.sound import read_sound
from tests.conftest import ROOT
from tests.unit.driven import SIZE, Driven, arkit_like, flame_like, make_subject, make_track

LICENSED = "research only"


def subject(folder: Path, head) -> Driven:
    """`results/doll` of one person, and the head model's own file beside it."""
    results = folder / "results/doll/avatar/model"
    return make_subject(results, folder / "own_head.npz", folder / "track.npz", head)


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("doll")
    subject(folder, arkit_like())
    return folder / "results/doll"


@pytest.fixture(scope="module")
def avatar(doll):
    return headsplat.load_avatar(doll / "avatar", device="cpu")


@pytest.fixture(scope="module")
def track(doll):
    return headsplat.load_track(doll)


def shown(video: Path) -> np.ndarray:
    """(N, H, W, 3) images of a video."""
    with av.open(str(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_import_is_lazy():
    code = (
        "import sys, headsplat; headsplat.load_track; headsplat.load_head; headsplat.UserError;"
        "print([m for m in ('torch', 'cv2', 'av', 'mediapipe', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_exist_and_are_typed():
    for name in headsplat.__all__:
        assert getattr(headsplat, name).__doc__, name
    assert set(headsplat.__all__) <= set(dir(headsplat))
    (block,) = (n for n in ast.parse(Path(headsplat.__file__).read_text()).body
                if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")  # fmt: skip
    typed = {alias.name for line in block.body for alias in line.names}
    assert typed == set(headsplat.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_avatars'"):
        headsplat.load_avatars  # noqa: B018


def test_single_frames_and_batches_render_equally(avatar, track):
    image = avatar.render(track[0])
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == torch.float32
    assert (image.min() >= 0) & (image.max() == 1)
    images = avatar.render(track[0:10])
    assert images.shape == (10, SIZE, SIZE, 3)
    torch.testing.assert_close(images[0], image, atol=2e-6, rtol=0)
    assert (images[0] - images[9]).abs().max() > 0.1
    frames = track.frames()
    torch.testing.assert_close(avatar.render(frames)[:10], images, atol=2e-6, rtol=0)
    whole = avatar.render_codes(
        frames.code.vector, frames.rotation, frames.translation, frames.intrinsics, SIZE, SIZE,
        torch.ones(3),
    )  # fmt: skip
    torch.testing.assert_close(avatar.render(track), whole[0], atol=2e-6, rtol=0)


def test_background_and_expression_can_be_set(avatar, track):
    red = avatar.render(track[0], background=(1, 0, 0))
    assert red[0, 0].tolist() == [1, 0, 0]
    frame = track[0]
    code = frame.code.with_shapes(avatar.head, browInnerUp_L=3)
    changed = avatar.render(frame.with_code(code))
    assert (changed - avatar.render(frame)).abs().max() > 0.02
    assert torch.equal(avatar.render(frame.with_code(frame.code)), avatar.render(frame))


def test_a_copied_avatar_renders_equally(doll, avatar, track, tmp_path):
    moved = shutil.copytree(doll, tmp_path / "elsewhere")
    there = headsplat.load_avatar(moved, device="cpu")
    again = headsplat.load_track(moved)
    assert torch.equal(there.render(again[5]), avatar.render(track[5]))
    for place in (moved / "avatar", moved / "avatar/model"):
        assert headsplat.load_avatar(place, device="cpu").head.name == "ict"


def test_a_head_with_a_restricted_licence_is_referenced(tmp_path, monkeypatch):
    head = replace(flame_like(), licence=LICENSED)
    files = subject(tmp_path, head)
    assert not list((tmp_path / "results").rglob("head.npz"))
    monkeypatch.chdir(tmp_path / "results")
    avatar = headsplat.load_avatar("doll", device="cpu")
    assert avatar.head.version == head.version
    # Elsewhere the file that is named is the user's own.
    moved = files.head.rename(tmp_path / "moved.npz")
    with pytest.raises(UserError) as refused:
        headsplat.load_avatar("doll", device="cpu")
    line = str(refused.value)
    assert "\n" not in line
    assert f"needs the head model flame {head.version}" in line
    assert f"its licence ({LICENSED})" in line
    assert f"{files.head} is not there" in line
    given = headsplat.load_avatar("doll", moved, "cpu")
    track = headsplat.load_track("doll")
    assert torch.equal(given.render(track[0]), avatar.render(track[0]))
    replace(head, template=head.template * 2).save(files.head)
    with pytest.raises(UserError, match="is not the head model flame .* was trained with"):
        headsplat.load_avatar("doll", device="cpu")


@pytest.mark.parametrize(("licence", "copies"), [("MIT", 1), (ICT, 1), (FLAME, 0), ("", 0)])
def test_the_licence_decides_whether_the_head_is_copied(tmp_path, licence, copies):
    subject(tmp_path, replace(arkit_like(), licence=licence))
    assert len(list((tmp_path / "results").rglob("head.npz"))) == copies


def test_a_damaged_copy_of_the_head_is_refused(doll, tmp_path):
    moved = shutil.copytree(doll, tmp_path / "doll")
    (file,) = moved.rglob("head.npz")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"head\.npz: is damaged"):
        headsplat.load_avatar(moved, device="cpu")
    file.unlink()
    with pytest.raises(UserError, match=r"head\.npz: is not there"):
        headsplat.load_avatar(moved, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"path": 7, "sha256": "0"}}, "names no head model"),
        ({"head": {}}, "names no head model"),
        ({"head": {"path": "../../x.npz", "sha256": "0"}}, r"\.\./\.\./x\.npz is not there"),
        ({"head": None}, "'head' is missing or broken; train the avatar again"),
        ({"settings": 3}, "'settings' is missing or broken"),
        ({"format": 1}, "format 1, this version reads 3; train the avatar again"),
    ],
)
def test_invalid_metadata_is_one_line(doll, tmp_path, change, message):
    moved = shutil.copytree(doll, tmp_path / "doll")
    (file,) = moved.rglob("avatar.json")
    write_json(file, read_json(file) | change)
    with pytest.raises(UserError, match=message) as refused:
        headsplat.load_avatar(moved, device="cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nothing", "a\nb", "file.txt"])
def test_a_folder_without_an_avatar_is_one_line(tmp_path, name):
    (tmp_path / "file.txt").write_text("x")
    for load in (headsplat.load_avatar, headsplat.load_track, headsplat.load_head):
        with pytest.raises(UserError) as refused:
            load(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_frames_of_another_head_are_refused(avatar):
    other = make_track(flame_like())
    with pytest.raises(UserError, match="was made with head model flame"):
        avatar.render(other)
    with pytest.raises(UserError, match="codes of 120 numbers, the avatar's head ict has 27"):
        avatar.render(other[0])
    with pytest.raises(UserError, match="no frame to draw"):
        avatar.render(make_track(avatar.head)[:0])


def test_a_video_shows_the_frames_with_sound(avatar, track, tmp_path):
    tone = np.sin(np.arange(48000) / 20).astype(np.float32) * 0.5
    with VideoWriter(tmp_path / "speech.mp4", 16, 16, 25, (tone, 48000)) as video:
        for _ in range(25):
            video.write(np.zeros((16, 16, 3), np.uint8))
    avatar.render_video(track, tmp_path / "out.mp4", audio=tmp_path / "speech.mp4")
    images = shown(tmp_path / "out.mp4")
    expected = avatar.render(track).numpy()
    assert images.shape == expected.shape
    assert np.abs(images / 255 - expected).mean((1, 2, 3)).max() < 0.03
    samples, rate = read_sound(tmp_path / "out.mp4")
    assert len(samples) / rate == pytest.approx(12 / 25, abs=0.05)
    assert np.abs(samples).max() > 0.3
    avatar.render_video(track.frames(), tmp_path / "quiet.mp4", fps=29.97, background=(0, 0, 0))
    with av.open(str(tmp_path / "quiet.mp4")) as file:
        assert float(file.streams.video[0].average_rate) == pytest.approx(29.97, abs=1e-3)
        assert not file.streams.audio


def test_a_video_that_cannot_be_made_leaves_nothing(avatar, track, tmp_path):
    silent = tmp_path / "silent.mp4"
    avatar.render_video(track[:2], silent)
    cases = [
        ({"audio": silent}, "has no sound"),
        ({"audio": tmp_path / "none.wav"}, "none.wav"),
        ({"fps": 0.0}, "images a second"),
        ({"fps": float("nan")}, "images a second"),
    ]
    for options, message in cases:
        with pytest.raises(UserError, match=message):
            avatar.render_video(track, tmp_path / "out.mp4", **options)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder"):
        avatar.render_video(track[:2], tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "silent.mp4"]


def test_a_driven_video_plays_the_motion(doll, track, tmp_path):
    write_track(tmp_path / "other.npz", make_track(arkit_like(), 20, seed=5))
    headsplat.drive_avatar(doll, tmp_path / "other.npz", tmp_path / "driven.mp4", "track")
    assert shown(tmp_path / "driven.mp4").shape == (20, SIZE, SIZE, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["driven.mp4", "other.npz"]
    for options, message in (
        ({"kind": "tracks"}, "kind 'tracks': use one of track"),
        ({"kind": "track", "head_motion": "wild"}, "head_motion 'wild': use one of relative"),
        ({"kind": "track", "face": "own"}, "face 'own': use one of relative, absolute"),
        ({"kind": "track", "amplitude": "2"}, "amplitude '2': use one of driver, subject"),
        ({"kind": "track", "neutral": [0]}, "'0' are no frame numbers, such as 12"),
        ({"kind": "track", "neutral": [99]}, "other.npz: has no frame 99 for the neutral face; i"),
        ({"kind": "track", "subject_neutral": [99]}, "track.npz: has no frame 99 for the neutral"),
        ({"kind": "track", "face": "absolute", "neutral": [1]}, "other.npz: face absolute has no"),
        ({"kind": "track", "voice": "phones"}, "track motions have no voice; leave voice"),
        ({"kind": "speech", "voice": "lam"}, "voice 'lam': needs its file; give voice_file"),
        ({"kind": "speech", "voice": "alto"}, "voice 'alto': one of personal, phones"),
        ({"kind": "speech", "voice": "diffposetalk"}, "serves the head flame, this subject's is"),
        ({"kind": "diffposetalk", "face": "absolute"}, "diffposetalk motions are not relative to"),
    ):
        with pytest.raises(UserError, match=message):
            headsplat.drive_avatar(doll, tmp_path / "other.npz", tmp_path / "x.mp4", **options)
    with pytest.raises(UserError, match="there is no such file"):
        headsplat.drive_avatar(doll, tmp_path / "none.npz", tmp_path / "x.mp4", "track")
    with pytest.raises(UserError, match="is a folder; name the mp4"):
        headsplat.drive_avatar(doll, tmp_path / "other.npz", tmp_path, "track")


def damaged(doll: Path, folder: Path, facts=None, arrays=None) -> Path:
    """A copy of the avatar with other facts or arrays, and no checksum."""
    shutil.copytree(doll / "avatar/model", folder)
    known = read_json(folder / "avatar.json")
    write_json(folder / "avatar.json", known | (facts or {}))
    if arrays:
        write_npz(folder / "avatar.npz", **read_npz(folder / "avatar.npz") | arrays)
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 10**15}, "'count' of its settings is 1000000000000000, its arrays and head"),
        ({"condition_size": "a"}, "'condition_size' of its settings is a"),
        ({"bases": 10**9}, "size mismatch"),
        ({"bases": 10**15}, "overflowed"),
        ({"bases": -1}, "negative dimension"),
        ({"bases": 10**400}, "deformation model 'blendshapes'"),
        ({"odd\x1b[31m": 1}, "unexpected keyword argument"),
    ],
)
def test_damaged_settings_are_refused_before_they_take_memory(doll, tmp_path, settings, message):
    known = read_json(doll / "avatar/model/avatar.json")["settings"]
    folder = damaged(doll, tmp_path / "avatar", {"settings": known | settings})
    with pytest.raises(UserError, match=message) as refused:
        headsplat.load_avatar(folder, device="cpu")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("anchor_face", np.full(300, 10**6)),
        ("anchor_face", np.full(300, -1)),
        ("anchor_face", np.zeros(300)),
        ("anchor_face", np.zeros(0, int)),
        ("anchor_barycentric", np.zeros((300, 2))),
        ("anchor_barycentric", np.full((300, 3), "x")),
        ("anchor_height", np.full(300, np.nan)),
        ("shape", np.zeros((2, 2))),
        ("state/weights", np.full(3, "x")),
        ("state/weights", np.full((4, 300 * 14), np.nan)),
    ],
)
def test_damaged_arrays_are_refused_when_loaded(doll, tmp_path, name, value):
    folder = damaged(doll, tmp_path / "avatar", arrays={name: value})
    with pytest.raises(UserError, match=f"array '{name}' is damaged, expected"):
        headsplat.load_avatar(folder, device="cpu")


def test_arrays_of_other_precision_and_byte_order_are_read(doll, track, avatar, tmp_path):
    arrays = read_npz(doll / "avatar/model/avatar.npz")
    other = {name: value.astype(value.dtype.newbyteorder(">")) for name, value in arrays.items()}
    other["shape"] = arrays["shape"].astype(np.float64)
    folder = damaged(doll, tmp_path / "avatar", arrays=other)
    loaded = headsplat.load_avatar(folder, device="cpu")
    assert torch.equal(loaded.render(track[0]), avatar.render(track[0]))


def test_a_device_that_is_not_there_is_one_line(doll):
    for device in ("xyz", "meta", "cuda:77"):
        with pytest.raises(UserError, match=f"device '{device}': not on this machine; one of auto"):
            headsplat.load_avatar(doll, device=device)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("exp", np.full((12, 7), "x"), "has type <U1"),
        ("ids", np.zeros(12), "has type float64"),
        ("img_size", np.array([10**9, 5]), "5 x 1000000000 pixels, expected 1 to 16384"),
        ("img_size", np.array([-7, 5]), "5 x -7 pixels"),
        ("fps", np.array(0.0), "'fps' is 0.0"),
    ],
)
def test_a_damaged_track_is_refused_when_loaded(doll, tmp_path, name, value, message):
    arrays = read_npz(doll / "avatar/model/track.npz")
    write_npz(tmp_path / "track.npz", **arrays | {name: value})
    with pytest.raises(UserError, match=message):
        headsplat.load_track(tmp_path)
    write_npz(tmp_path / "track.npz", **arrays | {"t": arrays["t"].astype(">f4")})
    assert torch.isfinite(headsplat.load_track(tmp_path)[0].translation).all()


def test_a_file_of_the_users_is_not_to_be_deleted(tmp_path):
    (tmp_path / "mine.npz").write_text("x")
    with pytest.raises(UserError, match="cannot be read as .npz") as refused:
        headsplat.load_track(tmp_path / "mine.npz")
    assert "delete" not in str(refused.value)


def test_a_head_whose_path_is_hostile_is_one_line(doll, tmp_path):
    for name in ("x" * 5000, "/proc/self/mem", "a\x1b[31m"):
        folder = damaged(doll, tmp_path / str(len(name)), {"head": {"path": name, "sha256": ""}})
        with pytest.raises(UserError) as refused:
            headsplat.load_avatar(folder, device="cpu")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 900
