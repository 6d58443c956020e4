"""The stages of a subject in the order of the workflow, and the files that tell how far each is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headsplat.formats.importing.kinds import ALPHA, KINDS, PARSING


@dataclass(frozen=True)
class Stage:
    """One rule of a subject.

    Attributes:
        rule: its name.
        output: its file, with `{subject}` and, where it is chunked, `{chunk}`.
    """

    rule: str
    output: str

    @property
    def chunked(self) -> bool:
        """Whether it is one job per chunk."""
        return "{chunk}" in self.output

    def outputs(self, subject: str, chunks: int) -> list[Path]:
        """Its files."""
        numbers = range(chunks) if self.chunked else (0,)
        return [Path(self.output.format(subject=subject, chunk=f"{n:03d}")) for n in numbers]

    def logs(self, subject: str, chunks: int) -> list[Path]:
        """The logs of the same jobs."""
        folder = Path("logs", subject)
        if self.chunked:
            return [folder / self.rule / f"{chunk:03d}.log" for chunk in range(chunks)]
        return [folder / f"{self.rule}.log"]


_VIDEO = (
    Stage("probe_video", "work/{subject}/video.json"),
    Stage("detect_chunk", "work/{subject}/landmarks/{chunk}.npz"),
    Stage("solve_crop", "work/{subject}/crop.json"),
    Stage("crop_chunk", "work/{subject}/frames/{chunk}.zip"),
)
_IMPORT = (
    Stage("import_track", "work/{subject}/import.json"),
    Stage("import_frames_chunk", "work/{subject}/frames/{chunk}.zip"),
)
_TRACK = (
    Stage("track_head", "work/{subject}/track/landmark_track.npz"),
    Stage("refine_track", "work/{subject}/track/track.npz"),
)
_ALPHA = "work/{subject}/alpha/{chunk}.zip"
_PARSING = "work/{subject}/parsing/{chunk}.zip"
_MODEL = "results/{subject}/avatar/model"
_LAST = (
    Stage("export_frames", "results/{subject}/checkpoint"),
    Stage("overlay_track", "work/{subject}/track/overlay.mp4"),
    Stage("evaluate_avatar", "results/{subject}/avatar/metrics.json"),
    Stage("write_report", "results/{subject}/avatar/report.html"),
)


def stages_of(row: Mapping[str, str]) -> list[Stage]:
    """The stages that the target `all` asks of a subject, but for a network that tells identity.

    Args:
        row: of the table of subjects, as `headsplat_workflow.config.read_subjects` gives it.
    """
    kind = row.get("kind")
    parts = KINDS[kind](Path(row["folder"])) if kind else ()
    return [
        *(_IMPORT if kind else _VIDEO),
        Stage("import_alpha_chunk" if ALPHA in parts else "matte_chunk", _ALPHA),
        *(() if kind else _TRACK),
        Stage("import_parsing_chunk" if PARSING in parts else "parse_chunk", _PARSING),
        Stage("split_frames", "work/{subject}/split.json"),
        Stage("export_dataset", "results/{subject}/dataset"),
        Stage("import_avatar" if row.get("avatar") else "train_avatar", _MODEL),
        *_LAST,
    ]
