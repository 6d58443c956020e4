"""Head-and-neck and mouth masks from the projected mesh, on a drawn bust."""

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import parse_chunk as script
from headsplat import track as tracks
from headsplat.formats.importing.clip import make_track
from headsplat.frames.images import decode_image, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import ContourSet, HeadModel, LandmarkSet
from headsplat.masks.labels import BISENET, CELEBAMASK, masks_from_labels
from headsplat.masks.neck_cut import split_person
from headsplat.masks.parse import mouth_mask
from headsplat.masks.projected_head import HEAD, NECK, HeadProjector, ProjectedHead
from headsplat.masks.steady_cut import decide_cut
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, write_json, write_npz

SIZE, FOCAL, DISTANCE = 256, 600.0, 1.0
SKIN, HAIR, SHIRT, WALL = (205, 155, 125), (70, 42, 25), (45, 70, 150), (170, 175, 165)
CHIN, BOTTOM = -0.1, -0.17


def bust(rows: int = 60, columns: int = 60) -> HeadModel:
    """A surface of revolution: an egg-shaped head on a tubular neck, 0.29 m tall."""
    y = np.linspace(0.12, BOTTOM, rows)
    egg = np.sqrt(np.clip(1 - (y / 0.125) ** 2, 0, None))
    width = np.maximum(0.078 * egg, np.where(y < -0.03, 0.05, 0))
    depth = np.maximum(0.09 * egg, np.where(y < -0.03, 0.045, 0))
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    template = np.stack(
        [
            width[:, None] * np.sin(turn),
            np.broadcast_to(y[:, None], (rows, columns)),
            depth[:, None] * np.cos(turn),
        ],
        -1,
    ).reshape(-1, 3)
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = grid[:-1], np.roll(grid, -1, 1)[:-1], grid[1:], np.roll(grid, -1, 1)[1:]
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)
    count = len(template)
    x, y, z = template.T
    front = z > 0.03
    where = {
        "boundary": y < BOTTOM + 1e-6,
        "neck": y < CHIN,
        "face": front & (y > CHIN) & (y < 0.06),
        "lips": front & (abs(y + 0.055) < 0.012) & (abs(x) < 0.025),
        "eye_region": front & (abs(y - 0.01) < 0.012),
        "scalp": y > 0.06,
        "left_eyeball": np.zeros(count, bool),
        "right_eyeball": np.zeros(count, bool),
    }
    third = np.full((4, 3), 1 / 3, np.float32)
    few = LandmarkSet(np.arange(4, dtype=np.int32), third, np.arange(4, dtype=np.int32))
    return HeadModel(
        template=template.astype(np.float32),
        shape_basis=np.zeros((count, 3, 2), np.float32),
        expression_basis=np.zeros((count, 3, 2), np.float32),
        joint_regressor=np.full((5, count), 1 / count, np.float32),
        parents=np.array([-1, 0, 1, 1, 1], np.int32),
        skinning=np.eye(5, dtype=np.float32)[np.ones(count, int)],
        eyelid_basis=np.zeros((count, 3, 2), np.float32),
        faces=faces.astype(np.int32),
        uv=np.zeros((3, 2), np.float32),
        uv_faces=np.tile(np.arange(3, dtype=np.int32), (len(faces), 1)),
        regions={name: np.flatnonzero(mask).astype(np.int32) for name, mask in where.items()},
        landmarks={
            "mediapipe": few,
            "multipie68": few,
            "contour": ContourSet(
                np.zeros((79, 17), np.int32), np.full((79, 17, 3), 1 / 3, np.float32)
            ),
        },
        shape_std=np.ones(2, np.float32),
        expression_std=np.ones(2, np.float32),
        name="bust",
        version="1",
        licence="MIT",
    )


def write_track(path: Path, frames: int, **changes) -> Path:
    still = np.tile([1.0, 0, 0, 0, 1, 0], (frames, 1))
    track = make_track(
        bust(), np.arange(1, frames + 1), np.zeros(2), np.zeros((frames, 2)), still,
        np.hstack([still, still]), np.zeros((frames, 2)),
        np.tile(np.diag([1.0, -1, -1]), (frames, 1, 1)), np.tile([0, 0, DISTANCE], (frames, 1)),
        np.array([[FOCAL, 0, 128], [0, FOCAL, 110], [0, 0, 1]]), (SIZE, SIZE),
    )  # fmt: skip
    tracks.write_track(path, replace(track, **changes))
    return path


def pixel(y: float) -> float:
    """Image row of a point at height `y` on the axis, about 5 cm behind the surface."""
    return 110 - FOCAL * y / (DISTANCE - 0.05)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory) -> ProjectedHead:
    track = write_track(tmp_path_factory.mktemp("track") / "track.npz", 1)
    return next(HeadProjector(bust(), track).frames([1], 1.0))


def scene(mesh: ProjectedHead, long_hair: bool = False, collar: float = BOTTOM):
    """A drawn person: image, matte, and ground truth of clothes and hair."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    image = np.broadcast_to(np.array(WALL, np.float32), (SIZE, SIZE, 3)).copy()
    matte = np.zeros((SIZE, SIZE), np.uint8)
    shirt = np.abs(columns - 128) < 45 + 1.2 * (rows - pixel(-0.14))
    shirt &= rows > pixel(-0.14)
    body = mesh.parts > 0
    shirt &= ~body | (rows > pixel(collar))
    hair = cv2.dilate((mesh.parts == HEAD).astype(np.uint8), np.ones((15, 15))) > 0
    hair &= (rows < pixel(-0.02)) & ~mesh.face
    strands = np.zeros_like(hair)
    if long_hair:
        strands = (np.abs(np.abs(columns - 128) - 46) < 8) & ~body
        strands &= (rows > pixel(0.0)) & (rows < pixel(-0.16))
    for region, color in ((shirt, SHIRT), (body & ~shirt, SKIN), (hair | strands, HAIR)):
        image[region] = color
        matte[region] = 255
    shade = 1 - 0.15 * np.sin(rows / 40)[..., None]
    image = image * shade + rng.normal(0, 4, image.shape)
    image = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (3, 3), 0)
    clothes = shirt & ~(hair | strands)
    return image, cv2.GaussianBlur(matte, (3, 3), 0), clothes, hair, strands


def neckhead_mask(image: np.ndarray, matte: np.ndarray, mesh: ProjectedHead) -> np.ndarray:
    """One frame's vote: 255 on head, hair and neck."""
    score = split_person(image, matte, mesh).score
    return np.where((score > 0) & (matte > 0), np.uint8(255), np.uint8(0))


def test_projector_labels_the_surface(mesh):
    assert mesh.parts.shape == (SIZE, SIZE)
    assert mesh.parts[int(pixel(0)), 128] == HEAD
    assert mesh.parts[int(pixel(-0.15)), 128] == NECK
    assert mesh.face[int(pixel(-0.03)), 128]
    assert not mesh.face[int(pixel(0.01)), 128]
    assert mesh.mouth_level == pytest.approx(pixel(-0.055), abs=3)
    assert mesh.boundary[:, 1] == pytest.approx(pixel(BOTTOM), abs=6)
    assert (np.diff(mesh.boundary[:, 0]) >= 0).all()


@pytest.mark.parametrize("long_hair", [False, True])
def test_head_hair_and_neck_are_in_and_clothes_are_out(mesh, long_hair):
    image, matte, clothes, hair, strands = scene(mesh, long_hair)
    mask = neckhead_mask(image, matte, mesh)
    assert set(np.unique(mask)) == {0, 255}
    inside = mask == 255
    assert inside[mesh.parts == HEAD].mean() > 0.99
    assert inside[(mesh.parts == NECK) & ~clothes].mean() > 0.95
    assert inside[hair].mean() > 0.99
    assert inside[clothes].mean() < 0.03
    assert not inside[matte == 0].any()
    if long_hair:
        assert inside[strands].mean() > 0.9


def test_a_high_collar_over_the_neck_is_out(mesh):
    image, matte, clothes, *_ = scene(mesh, collar=-0.13)
    inside = neckhead_mask(image, matte, mesh) == 255
    rows = np.arange(SIZE)[:, None] + 0.5
    covered = clothes & (mesh.parts == NECK)
    assert covered.sum() > 500
    assert inside[covered].mean() < 0.1
    assert inside[(mesh.parts == NECK) & (rows < pixel(-0.13) - 3)].mean() > 0.95


def test_the_soft_border_of_the_matte_stays_in(mesh):
    image, matte, *_ = scene(mesh)
    mask = neckhead_mask(image, matte, mesh)
    rows = np.arange(SIZE)[:, None]
    soft = (matte > 0) & (matte < 255) & (rows < pixel(-0.02))
    assert soft.sum() > 100
    assert (mask[soft] == 255).all()


def test_the_cut_across_bare_skin_is_a_smooth_line(mesh):
    image, matte, clothes, *_ = scene(mesh)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    grain = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (SIZE, SIZE)), (0, 0), 1.2)
    chest = clothes & (rows < pixel(BOTTOM) + 30) & (np.abs(columns - 128) < 60)
    bare = chest | ((mesh.parts == NECK) & ~clothes)
    image = image.astype(np.float32)
    image[chest] = SKIN
    image[bare] += (6 * grain / grain.std())[bare, None]
    inside = neckhead_mask(np.clip(image, 0, 255).astype(np.uint8), matte, mesh) == 255
    middle = slice(100, 157)
    lowest = SIZE - np.argmax(inside[::-1, middle], axis=0)
    # The line is an arc, which rises and falls once by a few pixels.
    assert np.abs(np.diff(lowest)).sum() <= 10
    assert np.abs(lowest - pixel(BOTTOM)).max() < 8
    assert (inside[130:, middle].sum(0) == lowest - 130).all()


def test_a_dark_collar_beside_the_neck_is_not_hair(mesh):
    image, matte, clothes, *_ = scene(mesh)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    collar = (np.abs(np.abs(columns - 128) - 41) < 12) & (mesh.parts == 0)
    collar &= (rows > pixel(-0.1)) & (rows < pixel(-0.15))
    image[collar], matte[collar] = HAIR, 255
    assert (collar & ~clothes).sum() > 300
    inside = neckhead_mask(image, matte, mesh) == 255
    assert inside[collar].mean() < 0.15
    assert inside[mesh.parts == HEAD].mean() > 0.99


def test_unconnected_object_is_outside(mesh):
    image, matte, *_ = scene(mesh)
    image[20:60, 20:50], matte[20:60, 20:50] = HAIR, 255
    assert not neckhead_mask(image, matte, mesh)[15:65, 15:55].any()


def test_a_head_out_of_the_image_gives_an_empty_mask(tmp_path):
    away = write_track(tmp_path / "track.npz", 1, t=np.float32([[2, 0, DISTANCE]]))
    mesh = next(HeadProjector(bust(), away).frames([1], 1.0))
    image = np.full((SIZE, SIZE, 3), 99, np.uint8)
    assert not neckhead_mask(image, np.full((SIZE, SIZE), 255, np.uint8), mesh).any()


def test_mouth_mask_is_the_dilated_hull():
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    outline = np.stack([100.5 + 30 * np.cos(angle), 80.5 + 12 * np.sin(angle)], -1)
    matte = np.full((160, 200), 255, np.uint8)
    matte[:, 125:] = 0
    mask = mouth_mask(outline, matte)
    rows, columns = np.nonzero(mask)
    assert set(np.unique(mask)) == {0, 255}
    assert columns.min() == pytest.approx(100 - 30 - 0.06 * 60, abs=1.5)
    assert columns.max() == 124
    assert rows.min() == pytest.approx(80 - 12 - 0.06 * 60, abs=1.5)
    assert rows.min() + rows.max() == 160


def write_inputs(root: Path, mesh: ProjectedHead, frames: int = 3) -> dict[str, Path]:
    image, matte, *_ = scene(mesh)
    with publish(root / "frames.zip") as t, FrameZipWriter(t, ".jpg") as pack:
        for k in range(1, frames + 1):
            pack.add(k, encode_jpeg(image))
    with publish(root / "alpha.zip") as t, FrameZipWriter(t, ".png") as pack:
        for k in range(1, frames + 1):
            pack.add(k, encode_png(matte))
    # The source has twice the crop's resolution; the crop extends 40 source pixels to its left.
    write_json(
        root / "crop.json",
        {
            "x0": -40.0, "y0": 0.0, "side": 512.0, "size": SIZE,
            "source_width": 640, "source_height": 512,
        },
    )  # fmt: skip
    points = np.full((frames, 478, 3), np.nan, np.float32)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = np.stack([128 + 14 * np.cos(angle), pixel(-0.055) + 6 * np.sin(angle)], -1)
    points[0, MEDIAPIPE_GROUPS["lips_outer"], :2] = lips * 2 + (-40, 0)
    write_npz(root / "landmarks.npz", ids=np.arange(1, frames + 1), points=points)
    bust().save(root / "head.npz")
    write_track(root / "track.npz", frames)
    files = {name: root / f"{name}.npz" for name in ("head", "track", "landmarks")}
    files |= {name: root / f"{name}.zip" for name in ("frames", "alpha")}
    files |= {"crop": root / "crop.json", "cut": root / "neck_cut.npz"}
    sources = files["head"], files["track"], [files["frames"]], [files["alpha"]]
    decide_cut(*sources, files["cut"])
    return files | {"out": root / "parsing.zip"}


def run(files: dict[str, Path]) -> None:
    script.main([f"--{name}={path}" for name, path in files.items()])


def test_a_chunk_with_and_without_landmarks(tmp_path, mesh):
    files = write_inputs(tmp_path, mesh)
    run(files)
    names = zipfile.ZipFile(files["out"]).namelist()
    assert names == [f"{k:05d}_{role}.png" for k in (1, 2, 3) for role in ("neckhead", "mouth")]
    with FrameStore([files["out"]]) as store:
        seen = decode_image(store.read(1, "_mouth"))
        guessed = decode_image(store.read(2, "_mouth"))
        heads = [decode_image(store.read(k, "_neckhead")) for k in (1, 2, 3)]
    np.testing.assert_array_equal(heads[0], heads[2])
    assert heads[0].dtype == np.uint8
    assert heads[0].shape == (SIZE, SIZE)
    # The lips are 28 pixels wide, and 16 mm (of 1 m at f = 600) high in the mesh.
    rows, columns = np.nonzero(seen)
    assert np.ptp(columns) == pytest.approx(28 + 2 * 0.06 * 28, abs=3)
    assert rows.mean() == pytest.approx(pixel(-0.055), abs=1)
    overlap = (seen & guessed > 0).sum() / (seen | guessed > 0).sum()
    assert overlap > 0.5


def test_padding_of_the_crop_is_never_head(tmp_path, mesh):
    files = write_inputs(tmp_path, mesh)
    with publish(files["alpha"]) as t, FrameZipWriter(t, ".png") as pack:
        for k in (1, 2, 3):
            pack.add(k, encode_png(np.full((SIZE, SIZE), 255, np.uint8)))
    run(files)
    with FrameStore([files["out"]]) as store:
        mask = decode_image(store.read(1, "_neckhead"))
    assert not mask[:, :20].any()
    assert mask[int(pixel(0)), 128] == 255


def test_mismatched_inputs_end_in_one_line(tmp_path, mesh):
    files = write_inputs(tmp_path, mesh)

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match):
            run(files)
        assert not files["out"].exists()

    write_track(files["track"], 2)
    refused(r"lacks frames \[3\]")
    write_track(files["track"], 3, head_name="flame")
    refused("made with head model flame 1")
    write_track(files["track"], 3, img_size=np.array([128, 128]))
    refused("the cut is 384 pixels wide")
    write_track(files["track"], 3)
    small = np.zeros((SIZE // 2, SIZE // 2), np.uint8)
    with publish(files["alpha"]) as t, FrameZipWriter(t, ".png") as pack:
        for k in (1, 2, 3):
            pack.add(k, encode_png(small))
    refused("frame 1: image")
    with publish(files["alpha"]) as t, FrameZipWriter(t, ".png") as pack:
        for k in (1, 3):
            pack.add(k, encode_png(np.zeros((SIZE, SIZE), np.uint8)))
    refused(r"alpha\.zip: 1 frame ids without a partner: 2")
    replace(bust(), name="other").save(files["head"])
    refused("head model bust 1, not other 1")


def test_the_two_label_orders_agree_on_the_masks():
    assert len(BISENET) == len(CELEBAMASK) == 19
    assert sorted(BISENET) == sorted(CELEBAMASK)
    # Ids from the documentation of both networks.
    assert [BISENET.index(n) for n in ("nose", "mouth", "neck", "cloth", "hair")] == [
        10, 11, 14, 16, 17,
    ]  # fmt: skip
    assert [CELEBAMASK.index(n) for n in ("nose", "mouth", "hair", "neck", "cloth")] == [
        2, 10, 13, 17, 18,
    ]  # fmt: skip
    labels = np.arange(19).reshape(1, 19)
    neckhead, mouth = masks_from_labels(labels, BISENET)
    assert np.flatnonzero(neckhead[0]).tolist() == [*range(1, 16), 17, 18]
    assert np.flatnonzero(mouth[0]).tolist() == [11, 12, 13]
    translated = np.array([CELEBAMASK.index(name) for name in BISENET])[labels]
    for mine, other in zip(
        (neckhead, mouth), masks_from_labels(translated, CELEBAMASK), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    with pytest.raises(ValueError, match="19 classes"):
        masks_from_labels(np.array([[19]]), BISENET)
