"""The personal voice: regression from sound to the mouth values of one subject, and its file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.logs import log
from headsplat.runtime.storage import AGAIN
from headsplat.speech.audio import NoSpeech
from headsplat.speech.features import BANDS, OFFSETS, Normalization, frame_windows
from headsplat.speech.mouth import JAW, MouthColumns
from headsplat.speech.regression import CENTERS, KernelRegression

FORMAT = 1
# Median nearness of a sound below the clip's own, in distances of its quartiles: up to `NEAR` the
# voice is trusted, from `FAR` on it is not.
NEAR, FAR = 0.5, 1.5
_LONGEST = 1 << 20  # frames of a clip
_FEATURES = BANDS * len(OFFSETS)
_LARGEST = 1e6  # number; codes, log-mels and their weights are far below it
# Letters: C centers, K mouth values, N frames of the clip.
_SHAPES = {
    "centers": f"C {_FEATURES}", "weights": "C K", "mean": "K", "closed": "K", "rest": "K",
    "shrink": "K",
    "levels": f"3 {BANDS}", "coverage": "2", "gain": "", "ids": "N", "loudness": "N", "speech": "N",
    "format": "", "head_name": "", "head_version": "",
}  # fmt: skip
_KINDS = {"ids": "iu", "speech": "b", "format": "iu", "head_name": "U", "head_version": "U"}


@dataclass(frozen=True, eq=False)
class Voice:
    """What was learned from one subject's clip.

    Attributes:
        regression: from windows of normalized log-mels to K mouth values (see `MouthColumns`).
        closed: (K,) the subject's lips at p, b and m.
        rest: (K,) the subject's lips in pauses.
        shrink: (K,) factor of each value's deviation from its mean.
        gain: factor of all deviations, which restores the variance that regression loses.
        levels: of the clip's sound.
        coverage: (2,) nearness of held-out frames with speech: median, and distance of quartiles.
        ids: (N,) frame ids of the clip.
        loudness: (N,) of the clip's sound at these frames.
        speech: (N,) whether the subject speaks.
        head_name: of the head model that the values belong to.
        head_version: likewise.
    """

    regression: KernelRegression
    closed: np.ndarray
    rest: np.ndarray
    shrink: np.ndarray
    gain: float
    levels: Normalization
    coverage: np.ndarray
    ids: np.ndarray
    loudness: np.ndarray
    speech: np.ndarray
    head_name: str
    head_version: str

    def mouth(
        self, mels: np.ndarray, times: np.ndarray, levels: Normalization
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mouth values that go with a sound.

        Args:
            mels: (m, 40) log-mels of the sound.
            times: (t,) seconds of the frames.
            levels: of the recording.

        Returns:
            (t, K) float64 values, and (t,) nearness of the sound to the clip's.
        """
        made, near = self.regression.predict(frame_windows(levels.apply(mels), times))
        return self.amplified(made), near

    def trust(self, near: np.ndarray) -> float:
        """Weight in 0..1 of this voice for a sound whose speech has this nearness, (s,).

        1 for sounds like the subject's own, 0 for those of very different speakers or of noise.
        """
        if len(near) == 0:
            return 1.0
        usual, spread = self.coverage
        distance = (usual - np.median(near)) / max(spread, 1e-6)
        return float(np.clip((FAR - distance) / (FAR - NEAR), 0, 1))

    def amplified(self, made: np.ndarray) -> np.ndarray:
        """(t, K) predictions with their deviations from the mean scaled."""
        mean = self.regression.mean.astype(np.float64)
        return mean + self.gain * self.shrink * (made - mean)

    def save(self, path: Path | str) -> None:
        """Write `voice.npz` atomically."""
        r, n = self.regression, self.levels
        floats = {
            "centers": r.centers, "weights": r.weights, "mean": r.mean, "closed": self.closed,
            "rest": self.rest, "shrink": self.shrink, "gain": np.array(self.gain),
            "levels": np.stack([n.floor, n.mean, n.std]), "coverage": self.coverage,
            "loudness": self.loudness,
        }  # fmt: skip
        write_npz(
            path, format=np.int32(FORMAT), ids=self.ids.astype("i4"), speech=self.speech,
            head_name=np.array(self.head_name), head_version=np.array(self.head_version),
            **{name: value.astype(np.float32) for name, value in floats.items()},
        )  # fmt: skip


def save_reason(path: Path | str, reason: str) -> None:
    """Write a `voice.npz` that says why there is no voice; atomically."""
    write_npz(path, format=np.int32(FORMAT), reason=np.array(reason))


def voice_beside(model: Path) -> Path | None:
    """`voice/voice.npz` beside the folder of an avatar, where the workflow writes it, if any.

    Args:
        model: folder `<subject>/avatar/model`.
    """
    path = model.absolute().parent.parent / "voice" / "voice.npz"  # also of a folder in /
    return path if path.is_file() else None


def voice_or_none(path: Path | str | None, head: HeadModel) -> Voice | None:
    """As `read_voice`; None without a file, or where the file says that there is no voice."""
    if path is None:
        return None
    try:
        return read_voice(path, head)
    except NoSpeech as reason:
        log.info("%s", reason)
        return None


def read_voice(path: Path | str, head: HeadModel) -> Voice:
    """Read and check a voice.

    Args:
        path: `voice.npz`.
        head: the head model that it must belong to.

    Raises:
        NoSpeech: it says that there is no voice.
        UserError: it cannot be read, an array is damaged, or it was learned for another head.
    """
    fix = f"give a voice.npz; if the workflow made it, {AGAIN}"
    found = read_npz(path, ("format",), fix)
    if "reason" in found:
        raise NoSpeech(f"{path}: holds no voice: {shown(str(found['reason']))}")
    arrays = read_npz(path, tuple(_SHAPES), fix)
    sizes: dict[str, int] = {}
    for name, pattern in _SHAPES.items():
        _check(path, name, arrays[name], pattern.split(), sizes)
    if int(arrays["format"]) != FORMAT:
        raise UserError(f"{path}: format {int(arrays['format'])}, this version reads {FORMAT}; "
                        "learn the voice again")  # fmt: skip
    made_for = str(arrays["head_name"]), str(arrays["head_version"])
    values = len(MouthColumns.of(head).rows) + JAW
    if made_for != (head.name, head.version) or sizes["K"] != values:
        raise UserError(
            f"{path}: learned for head {shown(' '.join(made_for))}, the avatar's is {head.name} "
            f"{head.version}; learn the voice with the same head"
        )
    if not (1 <= sizes["C"] <= CENTERS and 1 <= sizes["N"] <= _LONGEST):
        raise UserError(f"{path}: has {sizes['C']} centers and {sizes['N']} frames; {fix}")
    regression = KernelRegression(
        *(arrays[name].astype(np.float32) for name in ("centers", "weights", "mean")), len(OFFSETS)
    )
    return Voice(
        regression, arrays["closed"], arrays["rest"], arrays["shrink"], float(arrays["gain"]),
        Normalization(*arrays["levels"].astype(np.float32)), arrays["coverage"], arrays["ids"],
        arrays["loudness"], arrays["speech"], *made_for,
    )  # fmt: skip


def _check(
    path: Path | str, name: str, value: np.ndarray, tokens: list[str], sizes: dict[str, int]
) -> None:
    """`UserError` unless an array has the right type and shape, and finite, plausible numbers."""
    expected = [int(t) if t.isdigit() else sizes.get(t, t) for t in tokens]
    right = value.ndim == len(tokens) and value.dtype.kind in _KINDS.get(name, "f")
    right = right and all(
        isinstance(want, str) or want == have
        for want, have in zip(expected, value.shape, strict=True)
    )
    if right and value.dtype.kind == "f":
        right = bool((np.abs(value) <= _LARGEST).all())
    if not right:
        raise UserError(
            f"{path}: array '{name}' is damaged ({value.dtype}, shape {list(value.shape)[:4]}); "
            "learn the voice again"
        )
    sizes.update({t: n for t, n in zip(tokens, value.shape, strict=True) if not t.isdigit()})
