"""Which of the faces in a clip is the subject: the one that persists and is large."""

from dataclasses import dataclass, field

import numpy as np

GAP = 50  # frames a face may be away and still be continued
REACH = 0.6  # face heights a face may move from one frame to the next
SIZE_RATIO = 1.6  # by which its height may change


@dataclass
class FaceTrack:
    """One face over time: its frame ids, rows in the detection arrays, centres and heights."""

    ids: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    centres: list[np.ndarray] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)

    def add(self, frame_id: int, row: int, centre: np.ndarray, height: float) -> None:
        """Continue the track."""
        self.ids.append(frame_id)
        self.rows.append(row)
        self.centres.append(centre)
        self.heights.append(height)

    def extended(self, other: "FaceTrack") -> "FaceTrack":
        """This track and another one that shares no frame with it, in order of time."""
        first, second = sorted((self, other), key=lambda track: track.ids[0])
        order = np.argsort(first.ids + second.ids, kind="stable")
        return FaceTrack(
            *(
                [(getattr(first, name) + getattr(second, name))[i] for i in order]
                for name in ("ids", "rows", "centres", "heights")
            )
        )


def face_heights(faces: np.ndarray) -> np.ndarray:
    """Longer side of the box of each face's points: (m, 478, 3) px -> (m,) px."""
    if len(faces) == 0:
        return np.zeros(0, np.float32)
    return np.ptp(faces[..., :2], axis=1).max(axis=1)


def link_faces(face_frame: np.ndarray, faces: np.ndarray) -> list[FaceTrack]:
    """Join detections of successive frames that agree in place and size.

    Args:
        face_frame: (m,) frame id of each detection, ascending.
        faces: (m, 478, 3) px.
    """
    heights = face_heights(faces)
    centres = faces[..., :2].mean(axis=1)
    tracks: list[FaceTrack] = []
    for frame_id in np.unique(face_frame):
        rows = np.flatnonzero(face_frame == frame_id)
        live = [track for track in tracks if frame_id - track.ids[-1] <= GAP]
        pairs = sorted(
            (cost, row, index)
            for row in rows
            for index, track in enumerate(live)
            if (cost := _cost(track, int(frame_id), centres[row], heights[row])) is not None
        )
        used_rows, used_tracks = set(), set()
        for _, row, index in pairs:
            if row not in used_rows and index not in used_tracks:
                live[index].add(int(frame_id), int(row), centres[row], float(heights[row]))
                used_rows.add(row)
                used_tracks.add(index)
        for row in rows:
            if row not in used_rows:
                track = FaceTrack()
                track.add(int(frame_id), int(row), centres[row], float(heights[row]))
                tracks.append(track)
    return tracks


def _cost(track: FaceTrack, frame_id: int, centre: np.ndarray, height: float) -> float | None:
    ratio = height / track.heights[-1]
    if not 1 / SIZE_RATIO < ratio < SIZE_RATIO:
        return None
    distance = float(np.linalg.norm(centre - track.centres[-1])) / track.heights[-1]
    # The longer a face was away, the farther off it may return, up to three times as far.
    allowed = REACH * min(3.0, 1 + 0.1 * (frame_id - track.ids[-1] - 1))
    return distance if distance < allowed else None


def choose_subject(tracks: list[FaceTrack]) -> FaceTrack | None:
    """The track with the largest presence times size, with its continuations after absences.

    A track that shares no frame with it counts as a continuation when its height is within
    a factor of 1.6 and it is within two heights of the subject's usual place.
    """
    if not tracks:
        return None
    order = sorted(tracks, key=lambda track: -sum(track.heights))
    subject = order[0]
    for other in order[1:]:
        height = float(np.median(subject.heights))
        ratio = float(np.median(other.heights)) / height
        away = np.median(subject.centres, axis=0) - np.median(other.centres, axis=0)
        near = np.linalg.norm(away) < 2 * height
        if 1 / SIZE_RATIO < ratio < SIZE_RATIO and near and not set(subject.ids) & set(other.ids):
            subject = subject.extended(other)
    return subject
