"""Declares every stage: its rule, first output, resource needs, and which subjects it runs for.

Resource requests, `status`, time estimates and the doctor read this table. A test compares it with
the rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headsplat_workflow.subjects import Subject

from headsplat.formats.registry import ALPHA, PARSING


@dataclass(frozen=True)
class Need:
    """Resource needs of a job: (without frames, additional per 1,000 frames).

    The values are about twice the measured ones on two cores at 512 px. So a batch system neither
    kills a job nor keeps a node idle.

    Attributes:
        mem: memory, MiB.
        minutes: run time.
        disk: written data, MiB.
    """

    mem: tuple[int, int] = (1500, 0)
    minutes: tuple[int, int] = (10, 0)
    disk: tuple[int, int] = (100, 0)


@dataclass(frozen=True)
class Stage:
    """One rule.

    Attributes:
        rule: its name.
        output: its first file, with `{subject}`, and `{chunk}` if it is chunked.
        need: resource needs of one job.
        condition: whether target `all` includes it for a subject; None for rules that all subjects
            share or that run on demand.
        by_frames: whether its duration grows with the clip's length.
    """

    rule: str
    output: str
    need: Need = Need()
    condition: Callable[[Subject], bool] | None = None
    by_frames: bool = True

    @property
    def chunked(self) -> bool:
        """Whether it has one job per chunk."""
        return "{chunk}" in self.output

    def outputs(self, subject: str, chunks: int) -> list[Path]:
        """First output files of all its jobs for a subject."""
        numbers = range(chunks) if self.chunked else (0,)
        return [Path(self.output.format(subject=subject, chunk=f"{n:03d}")) for n in numbers]

    def logs(self, subject: str, chunks: int) -> list[Path]:
        """Log files of the same jobs."""
        folder = Path("logs", subject)
        if self.chunked:
            return [folder / self.rule / f"{chunk:03d}.log" for chunk in range(chunks)]
        return [folder / f"{self.rule}.log"]


def _all(subject: Subject) -> bool:
    return True


def _from_video(subject: Subject) -> bool:
    return not subject.imported


def _from_import(subject: Subject) -> bool:
    return subject.imported


def _provides(part: str) -> Callable[[Subject], bool]:
    return lambda subject: part in subject.brings


def _lacks(part: str) -> Callable[[Subject], bool]:
    return lambda subject: part not in subject.brings


def _trains_avatar(subject: Subject) -> bool:
    return not subject.avatar


def _imports_avatar(subject: Subject) -> bool:
    return bool(subject.avatar)


_FRAMES = "work/{subject}/frames/{chunk}.zip"
_ALPHA = "work/{subject}/alpha/{chunk}.zip"
_PARSING = "work/{subject}/parsing/{chunk}.zip"
_MODEL = "results/{subject}/avatar/model"
_IMPORT_MASKS = Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 60))
# On a CPU a network takes about 1 s per frame, MediaPipe and geometry 0.1 s.
_MAKE_MASKS = Need(mem=(2500, 0), minutes=(10, 60), disk=(20, 60))
_RENDER = Need(mem=(2000, 100), minutes=(10, 30), disk=(50, 100))
_EXPORT = Need(mem=(1000, 50), minutes=(5, 20), disk=(50, 1000))
_ONE_POSE = Need(mem=(2000, 20))
# About 1 MB a frame; the texture takes two minutes on a CPU.
_SEQUENCE = Need(mem=(2000, 50), minutes=(5, 20), disk=(50, 1500))
_MESH = Need(mem=(3000, 100), minutes=(10, 5))

_SHARED = (
    Stage(
        "build_cuda_ext",
        "work/cuda_ext/build.json",
        Need(mem=(3000, 0), minutes=(20, 0), disk=(1000, 0)),
    ),
    Stage(
        "build_head", "work/heads/{head}.npz", Need(mem=(3000, 0), minutes=(15, 0), disk=(500, 0))
    ),
    Stage("render_builtin_speech", "work/builtin/hello.wav", Need(mem=(1000, 0))),
    Stage("render_builtin", "work/builtin/demo.mp4", Need(mem=(2000, 0), minutes=(5, 30))),
)
_PER_SUBJECT = (
    Stage(
        "probe_video", "work/{subject}/video.json", Need(mem=(500, 0), minutes=(5, 3)), _from_video
    ),
    Stage(
        "detect_chunk",
        "work/{subject}/landmarks/{chunk}.npz",
        Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 20)),
        _from_video,
    ),
    Stage(
        "solve_crop",
        "work/{subject}/crop.json",
        Need(mem=(500, 50), minutes=(5, 2), disk=(20, 20)),
        _from_video,
    ),
    Stage("crop_chunk", _FRAMES, Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 120)), _from_video),
    Stage(
        "import_track",
        "work/{subject}/import.json",
        Need(mem=(2000, 100), minutes=(10, 10), disk=(50, 30)),
        _from_import,
    ),
    Stage(
        "import_frames_chunk",
        _FRAMES,
        Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 120)),
        _from_import,
    ),
    Stage("import_alpha_chunk", _ALPHA, _IMPORT_MASKS, _provides(ALPHA)),
    Stage("matte_chunk", _ALPHA, _MAKE_MASKS, _lacks(ALPHA)),
    Stage(
        "track_head",
        "work/{subject}/track/landmark_track.npz",
        Need(mem=(1500, 100), minutes=(20, 10), disk=(50, 30)),
        _from_video,
    ),
    # About 0.5 s per frame on a CPU, 0.01 s on a GPU; frames are refined window by window.
    Stage(
        "refine_track",
        "work/{subject}/track/track.npz",
        Need(mem=(2500, 100), minutes=(20, 60), disk=(50, 30)),
        _from_video,
    ),
    # About 0.02 s per frame.
    Stage(
        "solve_trunk",
        "work/{subject}/track/track.npz",
        Need(mem=(1500, 100), minutes=(10, 10), disk=(50, 30)),
        _from_import,
    ),
    Stage("import_parsing_chunk", _PARSING, _IMPORT_MASKS, _provides(PARSING)),
    Stage(
        "decide_cut",
        "work/{subject}/neck_cut.npz",
        Need(mem=(1500, 0), minutes=(10, 0), disk=(5, 0)),
        _lacks(PARSING),
    ),
    Stage("parse_chunk", _PARSING, _MAKE_MASKS, _lacks(PARSING)),
    Stage(
        "split_frames",
        "work/{subject}/split.json",
        Need(mem=(500, 10), minutes=(5, 0), disk=(10, 1)),
        _all,
    ),
    Stage(
        "export_dataset",
        "results/{subject}/dataset",
        Need(mem=(500, 50), minutes=(5, 10), disk=(50, 800)),
        _all,
    ),
    # On a CPU; a GPU needs seconds to minutes. The number of steps does not depend on the clip.
    Stage(
        "train_avatar",
        _MODEL,
        Need(mem=(3500, 100), minutes=(240, 10), disk=(200, 0)),
        _trains_avatar,
        by_frames=False,
    ),
    Stage("import_avatar", _MODEL, Need(mem=(2000, 20), minutes=(5, 0)), _imports_avatar),
    Stage(
        "export_frames",
        "results/{subject}/checkpoint",
        Need(mem=(500, 50), minutes=(5, 2), disk=(20, 20)),
        _all,
    ),
    Stage(
        "overlay_track",
        "work/{subject}/track/overlay.mp4",
        Need(mem=(1000, 50), minutes=(5, 10), disk=(50, 100)),
        _all,
    ),
    # The kernel regression is bounded, so memory does not grow with the clip.
    Stage(
        "learn_voice",
        "results/{subject}/voice/voice.npz",
        Need(mem=(1500, 50), minutes=(10, 10), disk=(50, 0)),
        _all,
    ),
    Stage("evaluate_avatar", "results/{subject}/avatar/metrics.json", _RENDER, _all),
    Stage("write_report", "results/{subject}/avatar/report.html", Need(mem=(1000, 50)), _all),
)
_ON_DEMAND = (
    Stage("solve_identity", "work/{subject}/mica.npy", Need(mem=(3000, 0), minutes=(15, 0))),
    # About 4 s per frame on a CPU, 0.05 s on a GPU.
    Stage(
        "track_on_avatar",
        "work/{subject}/track/avatar_track.npz",
        Need(mem=(2500, 50), minutes=(20, 150), disk=(50, 30)),
    ),
    Stage(
        "speak_motion",
        "work/{subject}/speech/{motion}.npz",
        Need(mem=(4000, 0), minutes=(60, 0), disk=(50, 0)),
    ),
    Stage("clean_plate", "work/{subject}/clean_plate.png", Need(mem=(1500, 0), disk=(50, 0))),
    Stage("drive_avatar", "results/{subject}/driven/{motion}.mp4", _RENDER),
    Stage("drive_with_alpha", "results/{subject}/driven/{motion}.{format}", _RENDER),
    Stage("export_vhap", "results/{subject}/export/vhap", _EXPORT),
    Stage("export_imavatar", "results/{subject}/export/imavatar", _EXPORT),
    Stage("export_flame_parameters", "results/{subject}/export/flame"),
    Stage("export_ply", "results/{subject}/export/ply/{pose}.ply", _ONE_POSE),
    Stage("export_spz", "results/{subject}/export/spz/{pose}.spz", _ONE_POSE),
    Stage("export_gaussians", "results/{subject}/export/gaussians/{pose}.glb", _ONE_POSE),
    Stage("export_sequence", "results/{subject}/export/sequence.zip", _SEQUENCE),
    Stage("export_motion_sequence", "results/{subject}/export/sequence/{motion}.zip", _SEQUENCE),
    Stage("export_mesh", "results/{subject}/export/mesh.glb", _MESH),
    Stage("export_motion_mesh", "results/{subject}/export/mesh/{motion}.glb", _MESH),
    Stage("export_lam", "results/{subject}/export/lam/{subject}.zip", Need(mem=(3000, 20))),
    Stage("export_arkit", "results/{subject}/export/arkit.csv"),
    # The network of flashavatar is evaluated on 240 frames, which takes minutes on a CPU.
    Stage(
        "export_web",
        "results/{subject}/export/web/{subject}.html",
        Need(mem=(3000, 50), minutes=(20, 5), disk=(50, 10)),
    ),
)
# In workflow order.
STAGES = {stage.rule: stage for stage in (*_SHARED, *_PER_SUBJECT, *_ON_DEMAND)}
# Rules without an output file that need more than the defaults.
_OTHER_RULES = {"fetch_assets": Need(mem=(1000, 0), minutes=(60, 0), disk=(2000, 0))}


def need_of(rule: str) -> Need:
    """Resource needs of one job of a rule."""
    return STAGES[rule].need if rule in STAGES else _OTHER_RULES.get(rule, Need())


def stages_of(subject: Subject) -> list[Stage]:
    """Stages that target `all` includes for a subject, in workflow order; no `solve_identity`."""
    return [
        stage
        for stage in STAGES.values()
        if stage.condition is not None and stage.condition(subject)
    ]
