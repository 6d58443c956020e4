"""Live Link Face tables as motions: effect of each coefficient, and refusals."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.drive.arkit_motion import read_arkit
from headsplat.drive.kinds import ABSOLUTE, RELATIVE, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.formats.arkit.live_link import read_live_link
from headsplat.formats.arkit.names import BLENDSHAPES, GAZE, JAW_OPEN, ROTATIONS, arkit_name
from headsplat.heads.ict import parts
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from tests.unit.driven import ARKIT_SHAPES, arkit_like, flame_like, make_driven_subject, make_track
from tests.unit.live_link import write_table

HEAD = arkit_like()
SUBJECT = make_driven_subject(HEAD, make_track(HEAD))
E = len(ARKIT_SHAPES)


def one_pose(folder, head_motion=ABSOLUTE, subject=SUBJECT, **coefficients):
    """The motion of a table in which every row is the same."""
    table = write_table(folder / "take.csv", [coefficients] * 90)
    return read_arkit(table, subject, MotionOptions(head_motion, face=ABSOLUTE))


def joint(motion, first: int) -> torch.Tensor:
    """(3,) axis-angle of a joint whose 6D rows start at a place of the code."""
    return axis_angle_from_matrix(matrix_from_6d(motion.condition[0, first : first + 6]))


def test_52_names_in_the_apps_order():
    assert len(set(BLENDSHAPES)) == len(BLENDSHAPES) == 52
    assert BLENDSHAPES[:3] == ("EyeBlinkLeft", "EyeLookDownLeft", "EyeLookInLeft")
    assert BLENDSHAPES[-2:] == ("NoseSneerRight", "TongueOut")
    assert ROTATIONS[:4] == ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw")


def test_every_ict_shape_has_an_arkit_name():
    names = [arkit_name(shape) for shape in parts.EXPRESSIONS]
    assert set(names) == set(BLENDSHAPES) - {"TongueOut"}
    assert (arkit_name("browInnerUp_L"), arkit_name("jawOpen")) == ("BrowInnerUp", "JawOpen")


def test_shapes_get_their_coefficients(tmp_path):
    motion = one_pose(
        tmp_path, BrowInnerUp=0.4, MouthSmileLeft=0.7, MouthSmileRight=0.2, EyeLookOutLeft=0.5,
        EyeBlinkLeft=0.9, JawOpen=0.6,
    )  # fmt: skip
    codes = dict(zip(ARKIT_SHAPES, motion.condition[0, :E].tolist(), strict=True))
    # Shapes do not repeat motions of joints and lids.
    assert codes == {
        "browInnerUp_L": 0.4, "browInnerUp_R": 0.4, "eyeBlink_L": 0, "eyeLookOut_L": 0.5,
        "jawOpen": 0, "mouthSmile_L": 0.7, "mouthSmile_R": 0.2,
    }  # fmt: skip


def test_jaw_and_lids(tmp_path):
    motion = one_pose(tmp_path, JawOpen=0.5, EyeBlinkLeft=0.25, EyeBlinkRight=0.75)
    torch.testing.assert_close(joint(motion, E), torch.tensor([JAW_OPEN / 2, 0, 0]).double())
    assert motion.condition[0, -2:].tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("coefficients", "left", "right"),
    [
        ({"EyeLookOutLeft": 0.5, "EyeLookInRight": 0.5}, (0, 0.5, 0), (0, 0.5, 0)),
        ({"EyeLookInLeft": 0.5, "EyeLookOutRight": 0.4}, (0, -0.5, 0), (0, -0.4, 0)),
        ({"EyeLookDownLeft": 1, "EyeLookDownRight": 1}, (1, 0, 0), (1, 0, 0)),
        ({"EyeLookUpLeft": 1}, (-1, 0, 0), (0, 0, 0)),
    ],
)
def test_gaze(tmp_path, coefficients, left, right):
    motion = one_pose(tmp_path, **coefficients)
    for first, expected in ((E + 6, left), (E + 12, right)):
        torch.testing.assert_close(joint(motion, first), GAZE * torch.tensor(expected).double())
    # The subject's left is +x, and the eyes look along +z.
    if left[1] > 0:
        ahead = matrix_from_6d(motion.condition[0, E + 6 : E + 12])[:, 2]
        assert ahead[0] > 0.2


def test_the_head_turns_about_the_neck(tmp_path):
    motion = one_pose(tmp_path, HeadYaw=0.2, HeadPitch=-0.1, HeadRoll=0.05)
    limits = SUBJECT.limits
    cos, sin = np.cos, np.sin
    yaw = np.array([[cos(0.2), 0, sin(0.2)], [0, 1, 0], [-sin(0.2), 0, cos(0.2)]])
    pitch = np.array([[1, 0, 0], [0, cos(0.1), sin(0.1)], [0, -sin(0.1), cos(0.1)]])
    roll = np.array([[cos(0.05), -sin(0.05), 0], [sin(0.05), cos(0.05), 0], [0, 0, 1]])
    turn = yaw @ pitch @ roll
    np.testing.assert_allclose(motion.rotation[0], limits.rotation.numpy() @ turn, atol=1e-12)
    # The nose goes to the subject's left, and the neck joint stays where it was.
    assert (turn @ [0, 0, 1])[0] > 0.1
    neck = HEAD.joint_regressor[1].astype(float) @ HEAD.template.astype(float)
    was = limits.rotation.numpy() @ neck + limits.translation.numpy()
    now = motion.rotation[0].numpy() @ neck + motion.translation[0].numpy()
    np.testing.assert_allclose(now, was, atol=1e-9)


def test_relative_motion_removes_a_constant_turn(tmp_path):
    motion = one_pose(tmp_path, RELATIVE, HeadYaw=0.4)
    torch.testing.assert_close(motion.rotation[3], SUBJECT.limits.rotation)


def test_relative_faces_add_differences_to_the_subjects_neutral_face(tmp_path):
    rows = [{"MouthSmileLeft": 0.3, "JawOpen": 0.02}] * 80 + [{"MouthSmileLeft": 0.5}] * 10
    motion = read_arkit(write_table(tmp_path / "take.csv", rows), SUBJECT, MotionOptions())
    neutral = neutral_face(SUBJECT.clip)
    face = [*range(E + 6), -2, -1]  # all but the eyes' turns
    torch.testing.assert_close(motion.condition[3, face], neutral[face], atol=5e-3, rtol=0)
    smile = ARKIT_SHAPES.index("mouthSmile_L")
    assert motion.condition[-1, smile] == pytest.approx(
        min(1, float(neutral[smile]) + 0.2), abs=5e-3
    )
    named = MotionOptions(neutral=(90,))
    motion = read_arkit(tmp_path / "take.csv", SUBJECT, named)
    torch.testing.assert_close(motion.condition[-1, face], neutral[face], atol=1e-6, rtol=0)
    with pytest.raises(
        UserError, match=r"take\.csv: has no frame 91 for the neutral face; its fra"
    ):
        read_arkit(tmp_path / "take.csv", SUBJECT, MotionOptions(neutral=(91,)))


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_frame_rate_follows_from_time_codes(tmp_path, fps):
    rows = [{"JawOpen": k / 100} for k in range(100)]
    table = read_live_link(write_table(tmp_path / "take.csv", rows, fps, start=3600.5))
    np.testing.assert_allclose(table.times, np.arange(100) / fps, atol=1e-9)
    np.testing.assert_allclose(table.values["JawOpen"], np.arange(100) / 100)


def test_resampled_by_time(tmp_path):
    rows = [{"MouthSmileLeft": k / 120} for k in range(121)]
    table = write_table(tmp_path / "take.csv", rows, 60)
    motion = read_arkit(table, SUBJECT, MotionOptions(ABSOLUTE, face=ABSOLUTE)).resample(25)
    assert len(motion.times) == 51
    smile = motion.condition[:, ARKIT_SHAPES.index("mouthSmile_L")].numpy()
    np.testing.assert_allclose(smile, np.arange(51) / 50, atol=1e-9)


def edit(path, change):
    """Rewrite a table's rows (header first) by a function."""
    with open(path, newline="") as handle:
        rows = list(csv.reader(handle))
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows(change(rows))
    return path


def test_spelling_order_and_lacking_angles_do_not_matter(tmp_path):
    path = write_table(tmp_path / "take.csv", [{"JawOpen": 0.5, "TongueOut": 0.1}] * 70)
    lacking = len(ROTATIONS) + 1  # no tongue either
    edit(path, lambda rows: [row[:-lacking][::-1] for row in rows])
    text = path.read_text().replace("JawOpen", "jawOpen").replace("BlendShape", "Blendshape")
    path.write_text("\ufeff" + text)
    motion = read_arkit(path, SUBJECT, MotionOptions(ABSOLUTE, face=ABSOLUTE))
    assert joint(motion, E)[0] == pytest.approx(JAW_OPEN / 2)
    torch.testing.assert_close(motion.rotation, SUBJECT.limits.rotation.expand(70, 3, 3))


def test_rows_without_a_face_are_gaps(tmp_path):
    path = write_table(tmp_path / "take.csv", [{"JawOpen": k / 100} for k in range(100)], 30)
    edit(path, lambda rows: [r if i not in (1, 50) else [r[0], "0"] for i, r in enumerate(rows)])
    table = read_live_link(path)
    # The first row still says when the sound starts.
    np.testing.assert_allclose(table.times[:2], [1 / 30, 2 / 30])
    assert len(table.times) == 98


def test_midnight_and_equal_time_codes(tmp_path):
    path = write_table(tmp_path / "take.csv", [{}] * 60, 30, start=24 * 3600 - 1)
    edit(path, lambda rows: [*rows[:5], rows[4], *rows[5:]])
    text = path.read_text().replace("24:00:00", "00:00:00")
    path.write_text(text)
    np.testing.assert_allclose(read_live_link(path).times, np.arange(60) / 30, atol=1e-9)


def cell(name, text, line=3):
    def change(rows):
        rows[line - 1][rows[0].index(name)] = text
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (cell("JawOpen", "JawOpn", 1), "unknown column 'JawOpn'; did it mean 'JawOpen'"),
        (cell("JawOpen", "#!", 1), "unknown column '#!'; remove it"),
        (cell("JawOpen", "MouthClose", 1), "the column 'MouthClose' occurs twice"),
        (lambda rows: [row[1:] for row in rows], "the column 'Timecode' is missing"),
        (lambda rows: [row[:30] for row in rows], "is missing; export it with all 52"),
        (cell("JawOpen", "nan"), "line 3: 'JawOpen' is 'nan', expected a number"),
        (cell("JawOpen", "open"), "line 3: 'JawOpen' is 'open'"),
        (cell("JawOpen", "55"), "'JawOpen' reaches 55, expected coefficients from 0 to 1"),
        (cell("HeadYaw", "-30"), "'HeadYaw' reaches 30, expected angles in radians"),
        (cell("Timecode", "0.04"), "line 3: 'Timecode' is '0.04', expected hours:minutes"),
        (cell("Timecode", "00:00:09:00.0"), "'Timecode' goes back in row 3"),
        (cell("Timecode", "99:99:99:00.0"), "line 3: 'Timecode' is '99:99:99:00.0', expected"),
        (cell("Timecode", "-1:00:00:00.0"), "line 3: 'Timecode' is '-1:00:00:00.0', expected"),
        (cell("Timecode", "1e300"), "line 3: 'Timecode' is '1e300', expected"),
        (cell("Timecode", "9" * 5000 + ":00:00:00"), "line 3: 'Timecode' is '9{100}...', expected"),
        (cell("Timecode", "00:00:00:nan"), "line 3: 'Timecode' is '00:00:00:nan', expected"),
        (cell("Timecode", "07:00:00:00.0", 71), "line 71: 25199 s after the row before it, more"),
        (cell("JawOpen", "1e300"), "'JawOpen' reaches 1e.300, expected coefficients from 0 to 1"),
        (cell("JawOpen", "x\n" * 5000), r"'JawOpen' is '(x.n){2}.*\.\.\.', expected a number"),
        (cell("JawOpen", "J" * 200_000, 1), r"cannot be read as a table \(field larger"),
        (cell("JawOpen", "J" * 5000, 1), "unknown column 'J{100}...'; remove it"),
        (lambda rows: [*rows[:2], rows[2][:9]], "line 3: 9 cells under 63 columns"),
        (lambda rows: rows[:20], "does not tell how many make a second"),
        (lambda rows: rows[:1], "no row shows a face"),
        (lambda rows: [], "is empty"),
    ],
)
def test_bad_tables_are_one_line(tmp_path, change, expected):
    path = edit(write_table(tmp_path / "take.csv", [{}] * 70), change)
    with pytest.raises(UserError, match=r"take\.csv.*" + expected) as caught:
        read_live_link(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) - len(str(path)) < 260


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_that_a_spreadsheet_saved_again(tmp_path, separator, encoding):
    path = write_table(tmp_path / "take.csv", [{"JawOpen": 0.25}] * 70)
    whole = read_live_link(path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    number = "," if separator != "," else "."
    lines = [separator.join(cell.replace(".", number) if n else cell for n, cell in enumerate(row))
             for row in rows]  # fmt: skip
    path.write_text("".join(f"{line}{separator * 3}\r\n" for line in lines), encoding, newline="")
    again = read_live_link(path)
    np.testing.assert_array_equal(again.times, whole.times)
    np.testing.assert_array_equal(again.values["JawOpen"], np.full(70, 0.25))


def test_binary_files_are_one_line(tmp_path):
    (tmp_path / "take.csv").write_bytes(b"\x89PNG\x00\xff\xfe")
    with pytest.raises(UserError, match=r"take\.csv: cannot be read as a table"):
        read_live_link(tmp_path / "take.csv")


def test_heads_without_arkits_names_are_refused(tmp_path):
    head = flame_like()
    with pytest.raises(UserError, match="head flame has no expression shapes with ARKit's names"):
        one_pose(tmp_path, subject=replace(make_driven_subject(head, make_track(head)), head=head))
