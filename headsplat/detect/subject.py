"""Which of the faces in a clip is the subject: the one that persists and is large."""

from dataclasses import dataclass, field

import numpy as np

from headsplat.detect.people import changes, face_patterns, tell_people
from headsplat.detect.still_faces import is_image

GAP = 50  # frames a face may be away and still be continued
REACH = 0.6  # face heights a face may move from one frame to the next
SIZE_RATIO = 1.6  # by which its height may change
# Faces that say who they are: not smaller than this, px, and not more of them outside the image.
TELLING_HEIGHT, TELLING_OUTSIDE = 60, 0.1
# Numbers of a person whose face does not say who it is, and of a face between two people.
UNTOLD, NEITHER = -1, -2


@dataclass
class FaceTrack:
    """One face over time: its frame ids, rows in the detection arrays, centers and heights."""

    ids: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)

    def add(self, frame_id: int, row: int, center: np.ndarray, height: float) -> None:
        """Continue the track."""
        self.ids.append(frame_id)
        self.rows.append(row)
        self.centers.append(center)
        self.heights.append(height)

    def part(self, rows: np.ndarray) -> "FaceTrack":
        """What of this track belongs to some of the detections."""
        keep = np.flatnonzero(np.isin(self.rows, rows))
        return FaceTrack(
            *(
                [getattr(self, name)[i] for i in keep]
                for name in ("ids", "rows", "centers", "heights")
            )
        )

    def extended(self, other: "FaceTrack") -> "FaceTrack":
        """This track and another one that shares no frame with it, in order of time."""
        first, second = sorted((self, other), key=lambda track: track.ids[0])
        order = np.argsort(first.ids + second.ids, kind="stable")
        return FaceTrack(
            *(
                [(getattr(first, name) + getattr(second, name))[i] for i in order]
                for name in ("ids", "rows", "centers", "heights")
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
    centers = faces[..., :2].mean(axis=1)
    tracks: list[FaceTrack] = []
    for frame_id in np.unique(face_frame):
        rows = np.flatnonzero(face_frame == frame_id)
        live = [track for track in tracks if frame_id - track.ids[-1] <= GAP]
        pairs = sorted(
            (cost, row, index)
            for row in rows
            for index, track in enumerate(live)
            if (cost := _cost(track, int(frame_id), centers[row], heights[row])) is not None
        )
        used_rows, used_tracks = set(), set()
        for _, row, index in pairs:
            if row not in used_rows and index not in used_tracks:
                live[index].add(int(frame_id), int(row), centers[row], float(heights[row]))
                used_rows.add(row)
                used_tracks.add(index)
        for row in rows:
            if row not in used_rows:
                track = FaceTrack()
                track.add(int(frame_id), int(row), centers[row], float(heights[row]))
                tracks.append(track)
    return tracks


def _cost(track: FaceTrack, frame_id: int, center: np.ndarray, height: float) -> float | None:
    ratio = height / track.heights[-1]
    if not 1 / SIZE_RATIO < ratio < SIZE_RATIO:
        return None
    distance = float(np.linalg.norm(center - track.centers[-1])) / track.heights[-1]
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
        away = np.median(subject.centers, axis=0) - np.median(other.centers, axis=0)
        near = np.linalg.norm(away) < 2 * height
        if 1 / SIZE_RATIO < ratio < SIZE_RATIO and near and not set(subject.ids) & set(other.ids):
            subject = subject.extended(other)
    return subject


@dataclass(frozen=True)
class Subject:
    """The choice among a clip's faces.

    Attributes:
        track: the subject's, None where no face is large enough.
        others: (k,) ids, ascending, of the frames that show other people and not the subject.
        largest: median height in px of the largest face.
    """

    track: FaceTrack | None
    others: np.ndarray
    largest: float


def find_subject(
    face_frame: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray | None,
    size: np.ndarray,
    smallest: float,
) -> Subject:
    """Link the faces, tell people apart, and choose the person with the most presence times size.

    A still image of a face is passed over where a living face is seen beside it.

    Args:
        face_frame: (m,) frame id of each face, ascending, m > 0.
        faces: (m, 478, 3) px.
        colors: (m, 468, 3) uint8 under the mesh's points, or None: then all are one person.
        size: (2,) width and height of the image.
        smallest: px, least median height of a track.
    """
    linked = _without_images(link_faces(face_frame, faces), faces, smallest)
    tracks = [(track, UNTOLD) for track in linked]
    if colors is not None:
        tracks = _split_people(linked, faces, colors, size)
    presence: dict[int, float] = {}
    for track, person in tracks:
        if person >= 0 and np.median(track.heights) >= smallest:
            presence[person] = presence.get(person, 0.0) + sum(track.heights)
    main = max(presence, key=lambda person: presence[person], default=UNTOLD)
    largest = max(float(np.median(track.heights)) for track, _ in tracks)
    subject = choose_subject(
        [t for t, who in tracks if who in (main, UNTOLD) and np.median(t.heights) >= smallest]
    )
    others = {k for t, who in tracks if who not in (main, UNTOLD) for k in t.ids}
    others -= set(subject.ids) if subject else set()
    return Subject(subject, np.array(sorted(others), int), largest)


def _without_images(tracks: list[FaceTrack], faces: np.ndarray, smallest: float) -> list[FaceTrack]:
    still = [is_image(faces, np.array(track.rows), np.array(track.heights)) for track in tracks]
    living = [
        set(track.ids)
        for track, image in zip(tracks, still, strict=True)
        if image is False and np.median(track.heights) >= smallest
    ]
    return [
        track
        for track, image in zip(tracks, still, strict=True)
        if not (image and any(ids & set(track.ids) for ids in living))
    ]


def _split_people(
    tracks: list[FaceTrack], faces: np.ndarray, colors: np.ndarray, size: np.ndarray
) -> list[tuple[FaceTrack, int]]:
    """Tracks of one person each, and the person's number.

    A track is cut where the face changes.
    """
    looks = face_patterns(faces, colors)
    outside = np.any((faces[..., :2] < 0) | (faces[..., :2] > size), axis=-1).mean(axis=-1)
    telling = (face_heights(faces) >= TELLING_HEIGHT) & (outside <= TELLING_OUTSIDE)
    pieces: list[np.ndarray] = []
    owner: list[int] = []
    for number, track in enumerate(tracks):
        rows = np.array(track.rows)
        for piece in np.split(rows, changes(looks.patterns[rows])):
            pieces.append(piece)
            owner.append(number)
    people = tell_people([piece[telling[piece]] for piece in pieces], looks)
    result = []
    for number, track in enumerate(tracks):
        own = [k for k, track_number in enumerate(owner) if track_number == number]
        parts: dict[int, list[np.ndarray]] = {}
        for k, person in zip(own, _filled(people[own]), strict=True):
            parts.setdefault(person, []).append(pieces[k])
        if len(parts) == 1:
            result.append((track, *parts))
        else:
            result += [(track.part(np.concatenate(rows)), who) for who, rows in parts.items()]
    return result


def _filled(people: np.ndarray) -> list[int]:
    """Persons of a track's pieces, where those that cannot be judged go with their neighbors.

    Between two people they are neither's.
    """
    known = np.flatnonzero(people != UNTOLD)
    if len(known) == 0:
        return people.tolist()
    before = np.searchsorted(known, np.arange(len(people)), side="right") - 1
    after = np.searchsorted(known, np.arange(len(people)))
    first = people[known[np.maximum(before, 0)]]
    then = people[known[np.minimum(after, len(known) - 1)]]
    first, then = np.where(before < 0, then, first), np.where(after == len(known), first, then)
    return np.where(first == then, first, NEITHER).tolist()
