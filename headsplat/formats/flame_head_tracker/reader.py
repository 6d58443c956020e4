"""Reader of flame-head-tracker's results, `<frame>.npz`, versions 3.4 and 4.1.

Frame numbers start at 0 and frames without a face are absent. `cam` is a camera-to-world pose:
three angles about Y, X and Z, then the camera's center, in OpenGL axes,

    Rc = Rz(e_2) Ry(e_0) Rx(e_1),   R = F Rc^T,   t = -F Rc^T c,   F = diag(1, -1, -1).

Intrinsics are those of an image squeezed to 256 x 256; version 3.4 writes none and has a field of
view of 20 degrees. The files contain the images: face-aligned (`img_aligned`), or source images
(`img`) if the tracker ran without realigning. If the user gives source images for aligned poses,
the alignment is recomputed and undone.
"""

from pathlib import Path

import numpy as np

from headsplat.formats.flame import (
    FLIP,
    fit_codes,
    matrices,
    require_flame,
    rigid_from_pose,
    root_and_neck_joints,
    six_from_axis_angle,
)
from headsplat.formats.flame_head_tracker.alignment import alignment, one_camera, undo_alignment
from headsplat.formats.importing.arrays import read_arrays
from headsplat.formats.importing.clip import ImageSource, ImportedClip, ImportOptions, make_track
from headsplat.formats.importing.numbered import numbered_images
from headsplat.frames.ids import frame_number
from headsplat.frames.images import read_image_file
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.npz import Npz
from headsplat.runtime.progress import progress
from headsplat.runtime.zips import BROKEN
from headsplat.track import Track, camera_moves

TOOL = "flame-head-tracker"
SHAPE, EXPRESSION = 300, 100
RENDER_SIZE, ALIGNED_SIZE = 256, 512
# Version 3.4: half the image over the tangent of half of 20 degrees.
OLD_FOCAL = RENDER_SIZE / 2 / np.tan(np.deg2rad(10.0))
# Rows of MediaPipe's 52 scores, of which the first is `_neutral`: eyeBlinkLeft, eyeBlinkRight.
BLINK_LEFT, BLINK_RIGHT = 9, 10
# Tolerance of a constant focal length; `optimize_fov` gives one per frame.
FOCAL_TOLERANCE = 1e-3
# Number of vertices used to fit the head motion when undoing the alignment.
FITTED_POINTS = 250
_ARRAYS = {
    "shape": "1 n", "exp": "1 n", "head_pose": "1 3", "jaw_pose": "1 3", "eye_pose": "1 6",
    "cam": "1 6", "blendshape_scores": "1 52",
}  # fmt: skip
_OPTIONAL = {"neck_pose": "1 3", "K": "1 3 3"}


def read_flame_head_tracker(folder: Path, options: ImportOptions) -> ImportedClip:
    """Read a `<save_path>/<video>` folder.

    Raises:
        UserError: names the file and the key.
    """
    require_flame(options, "2020", TOOL)
    if options.frame_delta is not None and options.images is None:
        raise UserError(
            f"{folder}: brings its images frame by frame; 'frame_delta' is only for a folder of "
            "the video's images in the column 'video'"
        )
    files = _files(folder)
    parts: dict[str, list[np.ndarray]] = {key: [] for key in (*_ARRAYS, "neck_pose", "K")}
    exp, shapes, names = [], [], frozenset()
    head = options.head
    for path in progress(files.values(), len(files), TOOL):
        arrays, found = read_arrays(path, _ARRAYS, _OPTIONAL)
        names = names or found
        _check_version(path, "K" in found, next(iter(files.values())), "K" in names)
        exp.append(
            fit_codes(
                arrays["exp"][0], EXPRESSION, head.expression_basis.shape[2], str(path), "exp"
            )
        )
        shapes.append(
            fit_codes(arrays["shape"][0], SHAPE, head.shape_basis.shape[2], str(path), "shape")
        )
        for key in parts:
            parts[key].append(arrays[key][0] if key in arrays else _default(key))
    values = {key: np.stack(rows) for key, rows in parts.items()}
    ids = np.array(list(files)) + 1

    image = _image_array(next(iter(files.values())), names, options)
    size = _image_size(files, image)
    shape, exp_codes = np.median(shapes, axis=0), np.stack(exp)
    R, t = opencv_camera(values["cam"])
    if values["head_pose"].any() or values["neck_pose"].any():
        joints = root_and_neck_joints(head, shape, exp_codes)
        motion = rigid_from_pose(values["head_pose"], values["neck_pose"], np.zeros(3), *joints)
        R, t = camera_moves(*motion, R, t)
    scores = values["blendshape_scores"][:, [BLINK_LEFT, BLINK_RIGHT]]
    track = make_track(
        head, ids, shape, exp_codes, six_from_axis_angle(values["jaw_pose"]),
        six_from_axis_angle(values["eye_pose"]), np.clip(options.blink_gain * scores, 0, 1),
        R, t, scaled_intrinsics(_shared(values["K"], files), *size), size,
    )  # fmt: skip
    spread = float(np.abs(np.stack(shapes) - shape).max())
    notes = _notes(options, list(files), spread)
    if options.images is not None:
        return _in_the_video(track, options, notes)
    images = {number + 1: ImageSource(path, image) for number, path in files.items()}
    return ImportedClip(track, images, notes=(f"poses belong to '{image}'", *notes))


def opencv_camera(cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`cam` (N, 6) -> R (N, 3, 3) and t (N, 3) of the head to OpenCV axes, meters."""
    zero = np.zeros(len(cam))
    about_y = matrices(np.stack([zero, cam[:, 0], zero], 1))
    about_x = matrices(np.stack([cam[:, 1], zero, zero], 1))
    about_z = matrices(np.stack([zero, zero, cam[:, 2]], 1))
    inverse = FLIP @ (about_z @ about_y @ about_x).swapaxes(1, 2)
    return inverse, -(inverse @ cam[:, 3:, None])[..., 0]


def scaled_intrinsics(K: np.ndarray, height: int, width: int) -> np.ndarray:
    """K (3, 3) at 256 x 256 -> of the image (height, width) that was squeezed to that."""
    return np.diag([width / RENDER_SIZE, height / RENDER_SIZE, 1.0]) @ K


def _default(key: str) -> np.ndarray:
    if key == "neck_pose":
        return np.zeros(3)
    half = RENDER_SIZE / 2
    return np.array([[OLD_FOCAL, 0, half], [0, OLD_FOCAL, half], [0, 0, 1]])


def _files(folder: Path) -> dict[int, Path]:
    """Frame number -> its file, ascending."""
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.npz")):
        number = frame_number(path.stem)
        if number is None:
            continue
        if number in files:
            raise UserError(f"{path}: frame {number} is also {files[number].name}; remove one")
        files[number] = path
    if not files:
        raise UserError(f"{folder}: has no <frame>.npz; point to <save_path>/<video>")
    return dict(sorted(files.items()))


def _check_version(path: Path, has_intrinsics: bool, first: Path, first_has: bool) -> None:
    if has_intrinsics != first_has:
        lacking = path if first_has else first
        raise UserError(
            f"{lacking}: 'K' is missing, other files have it; the folder mixes versions 3.4 and "
            "4.1, track the clip again with one"
        )


def _shared(K: np.ndarray, files: dict[int, Path]) -> np.ndarray:
    """The median intrinsics (3, 3), which every frame's must equal."""
    shared = np.median(K, axis=0)
    off = np.abs(K - shared).max((1, 2)) > FOCAL_TOLERANCE * shared[0, 0]
    if off.any():
        path = list(files.values())[int(off.argmax())]
        raise UserError(
            f"{path}: 'K' differs from other frames; a clip has one camera, track it again with "
            "optimize_fov off"
        )
    return shared


def _image_array(path: Path, names: frozenset[str], options: ImportOptions) -> str | None:
    """The image array that the poses belong to; None if the user gives the images.

    With realigning, `img` is a copy of `img_aligned`.
    """
    found = {"img", "img_aligned"} & names
    if not found and options.images is None:
        raise UserError(
            f"{path}: 'img' and 'img_aligned' are missing; give the video's images in the "
            "column 'video'"
        )
    name = min(found) if found else None
    if len(found) == 2:
        realigned = np.array_equal(_image(path, "img"), _image(path, "img_aligned"))
        name = "img_aligned" if realigned else "img"
    if name == "img" and options.images is not None:
        raise UserError(
            f"{path}: was tracked without realigning, so its own 'img' are the video's images; "
            "write '-' in the column 'video'"
        )
    return name


def _image_size(files: dict[int, Path], name: str | None) -> tuple[int, int]:
    """Height and width of the first image; all files must have the array."""
    if name is None:
        return ALIGNED_SIZE, ALIGNED_SIZE
    shape: tuple[int, int] | None = None
    for path in files.values():
        shape = _shape(path, name, known=shape)
    return shape


def _shape(path: Path, name: str, known: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of an array of images; `known` spares the reading."""
    try:
        with Npz(path) as archive:
            if name not in archive.names:
                raise UserError(f"{path}: '{name}' is missing; track the clip again")
            shape = known or archive.read(name).shape[-3:-1]
    except BROKEN as error:
        raise _unreadable(path, name, error) from error
    if len(shape) != 2 or 0 in shape:
        raise UserError(f"{path}: '{name}' holds no image; track the clip again")
    return shape


def _image(path: Path, name: str) -> np.ndarray:
    try:
        with Npz(path) as archive:
            return archive.read(name)
    except BROKEN as error:
        raise _unreadable(path, name, error) from error


def _unreadable(path: Path, name: str, error: BaseException) -> UserError:
    return UserError(f"{path}: '{name}': cannot be read ({one_line(error)}); track the clip again")


def _in_the_video(track: Track, options: ImportOptions, notes: tuple[str, ...]) -> ImportedClip:
    """The clip in the user's source images: the alignment of every frame is detected and undone."""
    numbered = numbered_images(options.images)
    # Frame 0 is the first image by default.
    delta = min(numbered) if options.frame_delta is None else options.frame_delta
    rows, cameras, sizes = [], [], set()
    for row, frame in enumerate(progress((track.ids - 1).tolist(), len(track.ids), "undo")):
        if frame + delta not in numbered:
            raise UserError(
                f"{options.images}: has no image {frame + delta} for frame {frame}; give all "
                "images of the video, or state 'frame_delta'"
            )
        image = read_image_file(numbered[frame + delta])
        sizes.add(image.shape[:2])
        points = options.detect(image)
        if points is not None:
            rows.append(row)
            found = alignment(points, int(track.img_size[0]))
            cameras.append(undo_alignment(track.R[row], track.t[row], track.K, *found))
    if not rows or len(sizes) != 1:
        raise UserError(
            f"{options.images}: {'no face is seen' if not rows else 'images differ in size'}; "
            "give the images of the video that was tracked"
        )
    R, t, K = (np.stack(values) for values in zip(*cameras, strict=True))
    head = options.head
    some = slice(None, None, max(1, len(head.template) // FITTED_POINTS))
    points = head.template[some] + head.shape_basis[some].astype(np.float64) @ track.shape
    R, t, shared, left = one_camera(R, t, K, points)
    kept = track.ids[rows]
    moved = make_track(
        options.head, kept, track.shape, track.exp[rows], track.jaw[rows], track.eyes[rows],
        track.eyelids[rows], R, t, shared, sizes.pop(),
    )  # fmt: skip
    images = {int(i): ImageSource(numbered[int(i) - 1 + delta]) for i in kept}
    undone = (
        f"the alignment is undone; one camera leaves {np.median(left):.2f} px (at most "
        f"{left.max():.2f}) of it",
        f"frame k is image k + {delta}",
    )
    lost = len(track.ids) - len(rows)
    if lost:
        undone = (*undone, f"{lost} frames are dropped: no face is seen in their image")
    return ImportedClip(moved, images, notes=(*undone, *notes))


def _notes(options: ImportOptions, numbers: list[int], spread: float) -> tuple[str, ...]:
    notes = []
    gaps = numbers[-1] + 1 - len(numbers)
    if gaps:
        notes.append(f"{gaps} frames between 0 and {numbers[-1]} are absent: no face was found")
    notes.append(
        f"eyelids are {options.blink_gain:g} times the blink scores; the expression may close "
        "them already"
    )
    if spread > 1e-3:
        notes.append(f"'shape' varies by up to {spread:.2f} between frames; its median is taken")
    notes.append("'tex' and 'light' are codes of another texture model and are dropped")
    return tuple(notes)
