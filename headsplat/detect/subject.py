"""Selection of the subject: links faces over time and picks the person with the most presence."""

from dataclasses import dataclass, field

import numpy as np

from headsplat.detect.face_identity import face_patterns, group_by_person, identity_changes

GAP = 50  # frames after which a lost face starts a new track
REACH = 0.6  # face heights that a face may move from one frame to the next
SIZE_RATIO = 1.6  # factor by which a face's height may change
# Faces used for identification: least height in px, and largest share outside the image.
IDENTIFIABLE_HEIGHT, IDENTIFIABLE_OUTSIDE = 60, 0.1
# Person numbers of faces without identification, and of those between two different people.
UNKNOWN, AMBIGUOUS = -1, -2
# Pairs of mesh points whose distance changes within seconds in a living face: the lips, the corners
# of the mouth, the lids, brow to lid, nose to chin.
MOVING_PAIRS = np.array([(13, 14), (61, 291), (386, 374), (159, 145), (66, 159), (1, 152)])
# Largest variation of these distances in a photograph, in face heights. Shaken, noisy and coarsely
# compressed photographs stayed below 0.015; living faces were above 0.034 in any 4 s.
STILL_LIMIT = 0.02
STILL_PERCENTILES = (5, 95)  # the variation is the range between these percentiles
STILL_FRAMES = 100  # least number of frames for a decision


@dataclass
class FaceTrack:
    """One face over time.

    Attributes:
        ids: frame ids, ascending.
        rows: rows in the detection arrays.
        centers: mean of the face's points, px.
        heights: face heights, px.
    """

    ids: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    centers: list[np.ndarray] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)

    def add(self, frame_id: int, row: int, center: np.ndarray, height: float) -> None:
        """Append a detection."""
        self.ids.append(frame_id)
        self.rows.append(row)
        self.centers.append(center)
        self.heights.append(height)

    def part(self, rows: np.ndarray) -> "FaceTrack":
        """The part of this track in the given rows of the detection arrays."""
        keep = np.flatnonzero(np.isin(self.rows, rows))
        return FaceTrack(
            *(
                [getattr(self, name)[i] for i in keep]
                for name in ("ids", "rows", "centers", "heights")
            )
        )

    def extended(self, other: "FaceTrack") -> "FaceTrack":
        """This track merged with another one that shares no frame with it."""
        first, second = sorted((self, other), key=lambda track: track.ids[0])
        order = np.argsort(first.ids + second.ids, kind="stable")
        return FaceTrack(
            *(
                [(getattr(first, name) + getattr(second, name))[i] for i in order]
                for name in ("ids", "rows", "centers", "heights")
            )
        )


def face_heights(faces: np.ndarray) -> np.ndarray:
    """Longer side of each face's bounding box: (m, 478, 3) px -> (m,) px."""
    if len(faces) == 0:
        return np.zeros(0, np.float32)
    return np.ptp(faces[..., :2], axis=1).max(axis=1)


def link_faces(face_frame: np.ndarray, faces: np.ndarray) -> list[FaceTrack]:
    """Link detections of successive frames with similar position and size to tracks.

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
    # The allowed distance grows with the frames since the last detection, up to three times.
    allowed = REACH * min(3.0, 1 + 0.1 * (frame_id - track.ids[-1] - 1))
    return distance if distance < allowed else None


def choose_subject(tracks: list[FaceTrack]) -> FaceTrack | None:
    """The track with the largest sum of heights, merged with its continuations after gaps.

    A continuation shares no frame with it. Its median height is within a factor of 1.6, and its
    median position within two face heights.
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
    """Result of `find_subject`.

    Attributes:
        track: the subject's track; None if no face is large enough.
        others: (k,) ids, ascending, of frames that show other people but not the subject.
        largest: median height of the largest track in px.
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
    """Link faces to tracks, group tracks by person, and choose the person with the most presence.

    Presence is the sum of face heights over frames. Photographs of faces (posters, paintings) are
    ignored in frames with a living face.

    Args:
        face_frame: (m,) frame id of each face, ascending, m > 0.
        faces: (m, 478, 3) px.
        colors: (m, 468, 3) uint8 RGB of `face_colors`; None: all faces are one person.
        size: (2,) width and height of the image in px.
        smallest: least median height of a track in px.
    """
    linked = _without_photographs(link_faces(face_frame, faces), faces, smallest)
    tracks = [(track, UNKNOWN) for track in linked]
    if colors is not None:
        tracks = _split_people(linked, faces, colors, size)
    presence: dict[int, float] = {}
    for track, person in tracks:
        if person >= 0 and np.median(track.heights) >= smallest:
            presence[person] = presence.get(person, 0.0) + sum(track.heights)
    main = max(presence, key=lambda person: presence[person], default=UNKNOWN)
    largest = max(float(np.median(track.heights)) for track, _ in tracks)
    subject = choose_subject(
        [t for t, who in tracks if who in (main, UNKNOWN) and np.median(t.heights) >= smallest]
    )
    others = {k for t, who in tracks if who not in (main, UNKNOWN) for k in t.ids}
    others -= set(subject.ids) if subject else set()
    return Subject(subject, np.array(sorted(others), int), largest)


def _without_photographs(
    tracks: list[FaceTrack], faces: np.ndarray, smallest: float
) -> list[FaceTrack]:
    """Remove photographs that are seen together with a living face of sufficient size."""
    photographs = [
        is_photograph(faces, np.array(track.rows), np.array(track.heights)) for track in tracks
    ]
    living = [
        set(track.ids)
        for track, photograph in zip(tracks, photographs, strict=True)
        if photograph is False and np.median(track.heights) >= smallest
    ]
    return [
        track
        for track, photograph in zip(tracks, photographs, strict=True)
        if not (photograph and any(ids & set(track.ids) for ids in living))
    ]


def is_photograph(faces: np.ndarray, rows: np.ndarray, heights: np.ndarray) -> bool | None:
    """Whether a tracked face is a photograph, because it does not deform; None if undecided.

    Args:
        faces: (m, 478, 3) px, all faces.
        rows: (n,) rows of this face.
        heights: (n,) heights of this face in px.
    """
    if len(rows) < STILL_FRAMES:
        return None
    one, other = (faces[rows[:, None], MOVING_PAIRS[:, k], :2] for k in (0, 1))
    share = np.linalg.norm(one - other, axis=-1) / heights[:, None]
    return bool(np.ptp(np.percentile(share, STILL_PERCENTILES, axis=0), axis=0).max() < STILL_LIMIT)


def _split_people(
    tracks: list[FaceTrack], faces: np.ndarray, colors: np.ndarray, size: np.ndarray
) -> list[tuple[FaceTrack, int]]:
    """(track, person number), where tracks are split at changes of identity."""
    features = face_patterns(faces, colors)
    outside = np.any((faces[..., :2] < 0) | (faces[..., :2] > size), axis=-1).mean(axis=-1)
    usable = (face_heights(faces) >= IDENTIFIABLE_HEIGHT) & (outside <= IDENTIFIABLE_OUTSIDE)
    pieces: list[np.ndarray] = []
    owner: list[int] = []
    for number, track in enumerate(tracks):
        rows = np.array(track.rows)
        for piece in np.split(rows, identity_changes(features.patterns[rows])):
            pieces.append(piece)
            owner.append(number)
    people = group_by_person([piece[usable[piece]] for piece in pieces], features)
    result = []
    for number, track in enumerate(tracks):
        own = [k for k, track_number in enumerate(owner) if track_number == number]
        parts: dict[int, list[np.ndarray]] = {}
        for k, person in zip(own, _fill_unknown(people[own]), strict=True):
            parts.setdefault(person, []).append(pieces[k])
        if len(parts) == 1:
            result.append((track, *parts))
        else:
            result += [(track.part(np.concatenate(rows)), who) for who, rows in parts.items()]
    return result


def _fill_unknown(people: np.ndarray) -> list[int]:
    """Person numbers of a track's pieces, with unknown ones filled from their neighbors.

    An unknown piece between two different people becomes `AMBIGUOUS`.
    """
    known = np.flatnonzero(people != UNKNOWN)
    if len(known) == 0:
        return people.tolist()
    before = np.searchsorted(known, np.arange(len(people)), side="right") - 1
    after = np.searchsorted(known, np.arange(len(people)))
    first = people[known[np.maximum(before, 0)]]
    then = people[known[np.minimum(after, len(known) - 1)]]
    first, then = np.where(before < 0, then, first), np.where(after == len(known), first, then)
    return np.where(first == then, first, AMBIGUOUS).tolist()
