"""The mesh as glTF: morphs, joints, texture and animation; and the zip for LAM's renderer."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import export_lam
import export_mesh
from headsplat.avatar_files import load_avatar, save_avatar
from headsplat.formats.arkit.names import BLENDSHAPES, JAW_OPEN
from headsplat.formats.splats import posed
from headsplat.frame_code import FrameCode
from headsplat.frames.images import decode_image
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.runtime.errors import UserError
from headsplat.track import read_track, write_track
from tests.unit.driven import Driven, arkit_like, make_avatar, make_track
from tests.unit.foreign_readers import gltf_issues
from tests.unit.glb_file import GlbFile
from tests.unit.live_link import write_table
from tests.unit.trunk_avatar import trunk_poses

COLOR = (0.8, 0.4, 0.2)
FRAMES = 12


def rigged_head() -> HeadModel:
    """A sphere with a jaw, eyes, lids, a neck that follows the trunk, and a jaw corrective."""
    head = arkit_like()
    x, y, z = head.template.T
    count = len(x)
    skinning = np.zeros((count, 5), np.float32)
    skinning[:, 2] = ((z - 0.02) / 0.05).clip(0, 1) * ((-0.01 - y) / 0.03).clip(0, 1)
    skinning[(z > 0.06) & (abs(y - 0.03) < 0.02) & (x > 0.02), 3] = 1
    skinning[(z > 0.06) & (abs(y - 0.03) < 0.02) & (x < -0.02), 4] = 1
    skinning[:, 0] = ((-0.05 - y) / 0.04).clip(0, 1) * (skinning[:, 2] == 0)
    skinning[:, 1] = 1 - skinning.sum(1)
    regressor = np.full((5, count), 1e-3, np.float32)
    for joint, vertex in enumerate((230, 200, 150, 80, 90)):
        regressor[joint, vertex] += 1 - regressor[joint].sum()
    lids = np.zeros((count, 3, 2), np.float32)
    above = (z > 0.04) & (abs(y - 0.065) < 0.014)
    lids[above & (x > 0), 1, 0] = lids[above & (x < 0), 1, 1] = -0.01
    correct = np.zeros((count, 3, 36), np.float32)
    # Entries (1, 2) and (2, 1) of the jaw's turn.
    correct[:, 2, 9 + 5] = 0.01 * skinning[:, 2]
    correct[:, 2, 9 + 7] = -0.02 * skinning[:, 2]
    return replace(
        head, skinning=skinning, joint_regressor=regressor, eyelid_basis=lids, pose_basis=correct
    )


def write_subject(folder, head: HeadModel) -> Driven:
    """Files of a subject of one color whose jaw turns about x and whose trunk moves."""
    track = make_track(head, FRAMES)
    angle = torch.zeros(FRAMES, 3)
    angle[:, 0] = torch.linspace(0, 0.4, FRAMES)
    turns = matrix_from_axis_angle(torch.from_numpy(track.R).double().new_tensor(angle.numpy()))
    trunk = trunk_poses(FRAMES).double().numpy()
    track = replace(
        track,
        jaw=matrix_to_6d(turns).numpy(),
        neck=np.tile(np.eye(3)[:2].reshape(-1), (FRAMES, 1)),
        trunk_R=track.R @ trunk[..., :3],
        trunk_t=(track.R @ trunk[..., 3:])[..., 0] + track.t,
    )
    avatar = make_avatar(head, np.asarray(track.shape))
    with torch.no_grad():
        color = avatar.deformation._split(avatar.deformation.weights[0])[4]
        color[:] = torch.tensor(COLOR) * (color.mean() / 0.5)
    head.save(folder / "head.npz")
    write_track(folder / "track.npz", track)
    (folder / "model").mkdir()
    save_avatar(folder / "model", avatar, folder / "head.npz", folder / "track.npz")
    return Driven(folder / "model", folder / "head.npz", folder / "track.npz")


def flags(subject: Driven, out) -> list[str]:
    given = {"model": subject.avatar, "head": subject.head, "track": subject.track, "out": out}
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Driven:
    return write_subject(tmp_path_factory.mktemp("mesh"), rigged_head())


@pytest.fixture(scope="module")
def mesh(subject, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "mesh.glb"
    export_mesh.main([*flags(subject, out), "--texture=128"])
    return out


def vertex_ids(head: HeadModel) -> np.ndarray:
    """The head's vertex of each vertex of the mesh."""
    pairs = np.stack([head.faces.reshape(-1), head.uv_faces.reshape(-1)], 1)
    return np.unique(pairs, axis=0)[:, 0]


def test_the_animation_is_the_track(subject, mesh):
    file, head = GlbFile(mesh), HeadModel.load(subject.head)
    track = read_track(subject.track)
    frames = track.frames()
    want = posed_vertices(
        HeadGeometry(head), torch.zeros(2), frames.code.vector, trunk=frames.trunk
    )
    away = np.array([0, 0, np.median(track.t[:, 2])])
    used = vertex_ids(head)
    assert np.ptp(want.numpy(), axis=0).max() > 0.01
    for row in range(FRAMES):
        camera = want[row].numpy() @ track.R[row].T + track.t[row]
        world = (camera * [1, -1, -1] + away)[used]
        np.testing.assert_allclose(file.frame(row), world, atol=1e-5)
    times = file.array(file.json["animations"][0]["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(times, np.arange(FRAMES) / 25, atol=1e-6)


def test_arkit_names_drive_the_whole_face(subject, mesh):
    file, head = GlbFile(mesh), HeadModel.load(subject.head)
    targets = file.targets
    shared = {name[0].lower() + name[1:] for name in BLENDSHAPES} & targets.keys()
    assert {"jawOpen", "eyeBlinkLeft", "eyeLookOutRight", "browInnerUp"} <= shared
    assert "mouthSmileLeft" in shared
    assert "tongueOut" not in targets
    geometry, code = HeadGeometry(head), FrameCode.neutral(head)
    turn = matrix_to_6d(matrix_from_axis_angle(torch.tensor([JAW_OPEN, 0, 0]).float()))
    used = vertex_ids(head)

    def change(code: FrameCode) -> np.ndarray:
        both = torch.stack([code.vector, FrameCode.neutral(head).vector])
        posed = posed_vertices(geometry, torch.zeros(2), both)
        return (posed[0] - posed[1]).numpy()[used]

    np.testing.assert_allclose(targets["jawOpen"], change(code.replace(jaw=turn)), atol=3e-6)
    lids = torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(
        targets["eyeBlinkRight"], change(code.replace(eyelids=lids)), atol=3e-6
    )
    brows = code.with_shapes(head, browInnerUp_L=1, browInnerUp_R=1)
    np.testing.assert_allclose(targets["browInnerUp"], change(brows), atol=3e-6)


def test_the_mesh_is_whole_and_looks_like_the_avatar(subject, mesh):
    file, head = GlbFile(mesh), HeadModel.load(subject.head)
    values = file.attributes()
    corners = file.array(file.primitive["indices"]).reshape(-1, 3)
    np.testing.assert_allclose(values["POSITION"][corners], head.template[head.faces], atol=1e-7)
    uv = values["TEXCOORD_0"][corners]
    np.testing.assert_allclose(uv[..., 0], head.uv[head.uv_faces][..., 0], atol=1e-6)
    np.testing.assert_allclose(1 - uv[..., 1], head.uv[head.uv_faces][..., 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(values["NORMAL"], axis=1), 1, atol=1e-5)
    outwards = (values["NORMAL"] * values["POSITION"]).sum(1)
    assert (outwards > 0).mean() > 0.95
    image = decode_image(file.image())
    assert image.shape == (128, 128, 3)
    # In front the texture has the avatar's color; atlas columns run around the head.
    front = image[40:90, 40:88].reshape(-1, 3).mean(0) / 255
    loaded = load_avatar(subject.avatar, device="cpu")
    facing, away = torch.diag(torch.tensor([1.0, -1, -1]))[None], torch.tensor([[0, 0, 0.8]])
    (splats,) = posed(loaded, FrameCode.neutral(head).vector[None], facing, away)
    shown = splats.harmonics[:, 0].mean(0).numpy() * 0.28209479 + 0.5
    np.testing.assert_allclose(front, shown.clip(0, 1), atol=0.04)
    lens = file.json["cameras"][0]["perspective"]
    assert lens["yfov"] == pytest.approx(2 * np.arctan(24 / 120))


def test_the_validator_finds_nothing(mesh):
    assert gltf_issues(mesh) == []


def test_a_motion_is_played(subject, tmp_path):
    rows = [{"JawOpen": 0.5 * (k % 40 > 20), "MouthSmileLeft": k / 80} for k in range(80)]
    table = write_table(tmp_path / "take.csv", rows)
    out = tmp_path / "take.glb"
    export_mesh.main([
        *flags(subject, out), f"--motion={table}", "--kind=arkit", "--texture=128",
        "--head-motion=still",
    ])  # fmt: skip
    file = GlbFile(out)
    assert file.json["animations"][0]["name"] == "take"
    body = file.node("ict")
    weights = file.channels()[body, "weights"].reshape(-1, len(file.targets))
    assert len(weights) == int(79 / 60 * 25) + 1
    assert np.ptp(weights[:, list(file.targets).index("mouthSmileLeft")]) > 0.05


def test_a_head_that_may_not_be_passed_on_is_refused(tmp_path):
    head = replace(rigged_head(), licence="FLAME, research only")
    subject = write_subject(tmp_path, head)
    out = tmp_path / "mesh.glb"
    with pytest.raises(UserError, match=r"research only.*export\.pass_on_head: any"):
        export_mesh.main([*flags(subject, out), "--texture=128"])
    assert not out.exists()
    export_mesh.main([*flags(subject, out), "--texture=128", "--pass-on-head=any"])
    assert "research only" in GlbFile(out).json["asset"]["copyright"]
    zipped = tmp_path / "anna.zip"
    with pytest.raises(UserError, match=r"research only.*export\.pass_on_head: any"):
        export_lam.main(flags(subject, zipped))
    assert not zipped.exists()
    export_lam.main([*flags(subject, zipped), "--pass-on-head=any"])
    assert zipfile.is_zipfile(zipped)


@pytest.fixture(scope="module")
def lam(subject, tmp_path_factory):
    out = tmp_path_factory.mktemp("lam") / "anna.zip"
    export_lam.main(flags(subject, out))
    return out


def test_lam_gets_gaussians_on_a_skinned_mesh(subject, lam, tmp_path):
    with zipfile.ZipFile(lam) as archive:
        assert archive.namelist()[0] == "anna/"
        parts = {name.split("/")[1]: archive.read(name) for name in archive.namelist()}
    skin, moves = GlbFile(parts["skin.glb"]), GlbFile(parts["animation.glb"])
    header, body = parts["offset.ply"].split(b"end_header\n", 1)
    cloud = np.frombuffer(body, "<f4").reshape(-1, 17)
    vertices = skin.attributes()["POSITION"]
    assert len(vertices) == len(cloud) == 300
    assert json.loads(parts["vertex_order.json"]) == list(range(300))
    assert "animations" not in skin.json
    assert len(moves.json["animations"]) == 12
    names = [skin.json["nodes"][k]["name"] for k in skin.json["skins"][0]["joints"]]
    assert names == ["hip", "head"]
    loaded, head = load_avatar(subject.avatar, device="cpu"), HeadModel.load(subject.head)
    facing, away = torch.diag(torch.tensor([1.0, -1, -1]))[None], torch.tensor([[0, 0, 0.8]])
    code = FrameCode.neutral(head)
    (splats,) = posed(loaded, code.vector[None], facing, away)
    centers = vertices.astype(float) + cloud[:, :3]
    shift = (centers.astype(float) - splats.means.numpy()).mean(0)
    np.testing.assert_allclose(centers - shift, splats.means, atol=1e-6)
    face = head.template[head.regions["face"]].mean(0)
    np.testing.assert_allclose(face + shift, (0, 1.62, 0), atol=1e-5)
    color = splats.harmonics[:, 0].numpy() * 0.28209479 + 0.5
    np.testing.assert_allclose(cloud[:, 6:9], color.clip(0, 1), atol=1e-5)
    smile = code.with_shapes(head, mouthSmile_L=1)
    (smiling,) = posed(loaded, smile.vector[None], facing, away)
    want = (smiling.means - splats.means).numpy()
    np.testing.assert_allclose(skin.targets["mouthSmileLeft"], want, atol=3e-6)
    for name in ("skin.glb", "animation.glb"):
        (tmp_path / name).write_bytes(parts[name])
        severe = [i for i in gltf_issues(tmp_path / name) if i["severity"] < 2]
        assert severe == []


def test_lam_needs_arkit_names(tmp_path):
    head = replace(rigged_head(), expression_names=(), name="other")
    subject = write_subject(tmp_path, head)
    with pytest.raises(UserError, match="no expression shapes with ARKit's names"):
        export_lam.main(flags(subject, tmp_path / "anna.zip"))
    assert not (tmp_path / "anna.zip").exists()
