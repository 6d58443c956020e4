"""One `.frame` per image of a packed track."""

from pathlib import Path

from headsplat.formats.frame import frame_dict, write_frame
from headsplat.runtime.files import publish_folder
from headsplat.runtime.progress import progress
from headsplat.track import read_track


def export_frames(track_path: Path, out: Path) -> None:
    """Publish the folder `out`; `00000.frame` belongs to image id 1.

    Args:
        track_path: packed track.
        out: folder to write; one that exists is replaced.

    Raises:
        UserError: a broken track, or more coefficients than a `.frame` holds.
    """
    track = read_track(track_path)
    size = (int(track.img_size[0]), int(track.img_size[1]))
    with publish_folder(out) as folder:
        for row, frame_id in enumerate(progress(track.ids.tolist(), len(track.ids), "frames")):
            index = frame_id - 1
            frame = frame_dict(
                index, track.shape, track.exp[row], track.jaw[row], track.eyes[row],
                track.eyelids[row], track.R[row], track.t[row], track.K, size,
            )  # fmt: skip
            write_frame(folder / f"{index:05d}.frame", frame)
