"""Generate docs/benchmarks.md, and the README's table of headline numbers, from the results.

    python benchmarks/page.py            # write both
    python benchmarks/page.py --check    # exit status 1 if one is out of date

Every benchmark writes `benchmarks/results/<name>.json`: a list of rows with `what`, `value`,
`unit`, `target`, `machine`, and if there is a peer, `peer`, `peer_value` and `ratio`.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.body_table import body_rows  # noqa: E402

RESULTS, PAGE, README = "benchmarks/results", "docs/benchmarks.md", "README.md"
BEGIN, END = "<!-- headline numbers: python benchmarks/page.py -->", "<!-- end -->"
CLIP = "--clip CLIP --head HEAD"
Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One results file on the page.

    Attributes:
        name: of the file, without `.json`.
        title: heading.
        command: that writes the file; empty if each row names its own.
        text: notes for the reader.
    """

    name: str
    title: str
    command: str
    text: str = ""


SECTIONS = (
    Section("workflow", "Workflow", "", "Whole runs, and commands that write no file."),
    Section("demo", "Demo", "python benchmarks/demo.py"),
    Section(
        "detection", "Face detection",
        "python benchmarks/detection.py --clip CLIP --peer PYTHON",
        "One thread, after decoding. PYTHON has the peer's release of MediaPipe installed.",
    ),
    Section("tracking", "Landmark track", "python benchmarks/tracking.py"),
    Section(
        "tracking_gpu", "Landmark track on a GPU", "python benchmarks/tracking.py --device cuda",
        "`--frames N` sets the length.",
    ),
    Section(
        "tracking_scores", "Blendshape scores in the track",
        "python benchmarks/tracking_scores.py",
        "Synthetic landmarks with two faults of MediaPipe's: a shut eye keeps 30 % of its opening, "
        "and the iris shows 30 % of the pitch of the gaze. Medians over three clips of 200 frames.",
    ),
    Section(
        "photometric", "Track refined against the images",
        "python benchmarks/photometric.py --device cuda",
        "Medians over five synthetic clips of 300 frames at 512 px. On three clips of the head "
        "`ict` (`--head HEAD`) the rotation error fell from 0.54 to 0.47 degrees. Face vertices "
        "after the best rigid motion got worse there: 0.64 to 0.80 mm.",
    ),
    Section(
        "refined_quality", "Quality gained by the refined track",
        f"python benchmarks/refined_quality.py {CLIP}",
        "Mean over three seeds on a real clip of 16 s.",
    ),
    Section(
        "speech", "Personal voice", f"python benchmarks/speech.py {CLIP} --video VIDEO",
        "A newsreader's clip of 71 s on the head `ict`, five-fold. The built-in subject's rows "
        "(`--demo work/demo`) are words that its clip of 12 s lacks, against their ground truth. "
        "Its track has itself 50 % of the mean face's lip vertex error, so a voice was also "
        "learned from the clip's ground truth.",
    ),
    Section("rasterizer", "Rasterizer on a CPU", "python benchmarks/rasterizer.py"),
    Section("rasterizer_gpu", "Rasterizer on a GPU", "python benchmarks/rasterizer.py --peer"),
    Section(
        "training_gpu", "Training", f"python benchmarks/training.py {CLIP}",
        "A step is one CUDA graph over 16 frames. The peer runs in the same process: the "
        "`flashavatar` model, one frame at a time, launched kernel by kernel, in single precision. "
        "LPIPS ran with random VGG weights, so its speed holds and its quality does not. "
        "FlashAvatar's own code on the same kind of GPU: 90 images/s, 57 with LPIPS. "
        "A profiled step takes 1.85 ms: rasterizer backward 0.76 and forward "
        "0.45, elementwise work 0.23, matrix products 0.13, host 0.10, Adam 0.06, loss 0.06.",
    ),
    Section(
        "time_to_quality", "Time to quality", f"python benchmarks/time_to_quality.py {CLIP}",
        "Three seeds of `blendshapes` spread over 0.3 dB at either batch.",
    ),
    Section(
        "lpips_crops", "LPIPS on crops", f"python benchmarks/lpips_crops.py {CLIP}",
        "With random VGG weights LPIPS moved neither PSNR nor its own distance. These rows "
        "therefore cannot tell crops from whole images.",
    ),
    Section(
        "real_clips", "Real clips", "",
        "Head `ict`, preset `standard`: 512 px, 16,000 Gaussians, 48,000 training images without "
        "LPIPS. Everything up to the masks ran on 2 cores, training on one H200. The first two "
        "rows were trained in batches of 16, the others in batches of 8 by an earlier version. "
        "The training settings were chosen on the demo and the first clip. Expect a little less.",
    ),
    Section(
        "transfer", "Faces driven by other people",
        "python benchmarks/transfer.py --head HEAD TRACK TRACK ...",
        "Landmark tracks of three real clips of 7, 16 and 71 s. The peer takes the driver's codes "
        "as they are (`face` `absolute`). Both are measured on the subject's posed mesh.",
    ),
    Section("rendering_gpu", "Rendering", "python benchmarks/rendering.py"),
    Section(
        "body", "Neck, hair and torso",
        "python benchmarks/body.py --clip CLIP ... --head HEAD --old-masks FOLDER",
        "Held-out frames, means over three seeds of 48,000 images; head `ict`, 512 px. The old "
        "masks and the stiff neck are those of the version before the trunk was tracked. PSNR "
        "depends on the masks, so each row says which masks score. With old masks for scoring, "
        "avatars of the new masks lose where the two outlines differ. `psnr_full` and "
        "`psnr_collar` compare with the whole person. The flow is measured where both axes have "
        "texture; the poses were solved from the same kind of flow.",
    ),
    Section(
        "web", "Web page",
        "python benchmarks/web.py --avatar AVATAR --head HEAD --spark FOLDER",
        "Headless Chromium without a GPU, on a machine with other work. HEAD is the head `ict`. "
        "Spark 2.2 draws the same Gaussians in one pose, with the settings that come closest to "
        "the library's images. It neither deforms nor sorts in that time; the page does both.",
    ),
    Section(
        "web_parity", "Web page against the library",
        "python benchmarks/web_parity.py AVATAR AVATAR ...",
        "Headless Chromium, 8 frames at 256 px, half of them at the limits of the codes; the worst "
        "frame counts. The avatars: the demo's, one with torso on the head `ict`, and one of the "
        "model `flashavatar`. With `int8`, the demo's level of 14 is in 7 pixels of one "
        "frame: rounding exchanges two Gaussians of almost the same depth.",
    ),
    Section(
        "web_gl_gpu", "Shaders of the web page on a GPU",
        "python benchmarks/web_gl.py RECORDING RECORDING ...",
        "The page's GLSL by EGL and OpenGL ES 3, uploads included, without a browser. "
        "`python benchmarks/gl_recording.py --avatar AVATAR --out RECORDING` records the WebGL "
        "calls of a frame. 16,000 Gaussians are those of the demo two times (`--twice`).",
    ),
    Section(
        "live", "Live loop on a CPU", "python benchmarks/live.py --head HEAD",
        "From a phone's packet on loopback to what leaves the program; a machine with other work.",
    ),
    Section(
        "live_gpu", "Live loop on a GPU", "python benchmarks/live.py --head HEAD",
        "From a phone's packet on loopback to what leaves the program. The strangers' packets come "
        "from another address than the phone's.",
    ),
    Section("masks_gpu", "Mask networks", "python benchmarks/masks.py", "Random weights."),
    Section(
        "mattes", "Mattes", "python benchmarks/mattes.py --head HEAD --videos FOLDER",
        "MediaPipe's segmenter at 512 px. The first four clips are the built-in subject with loose "
        "hair in front of four backgrounds, with known mattes. `halo` is the color error on white "
        "and black per soft pixel. `rim` is background color left in soft pixels of videos. "
        "HEAD is the procedural head.",
    ),
    Section(
        "speech_networks_gpu", "Speech networks", "python benchmarks/speech_networks.py",
        "DiffPoseTalk and its speech encoder, random weights of the published sizes. The peer is "
        "PyTorch's decoder in eager mode, also in TF32, with the guidance entries as one batch.",
    ),
    Section("frames", "Frame files", "python benchmarks/frames.py"),
    Section(
        "kills", "Kills at random moments",
        "python benchmarks/kills.py --video VIDEO --head ict --assets ASSETS",
        "A real clip of 16 s, 20 kills of the whole run. Three kills met the report and the "
        "evaluation, which are short and mostly start-up; they raise the mean.",
    ),
)  # fmt: skip

# Rows of the README: its words, file, row and command.
HEADLINES = (
    ("demo, packages installed, CPU", "demo", "demo, packages installed"),
    ("demo, held-out PSNR of the head", "demo", "psnr_head, held out"),
    ("landmark track of 1,008 frames, CPU", "tracking", "landmark solve, 1008 frames"),
    (
        "training, GPU, real clip", "training_gpu",
        "training, blendshapes, real clip, 512 px, batch 16",
    ),
    (
        "training until 30.62 dB held out, GPU", "time_to_quality",
        "set-up and training until 30.62 dB held out, real clip, 512 px",
    ),
    (
        "held-out PSNR of the head, real clip", "refined_quality",
        "held-out psnr_head, refined track",
    ),
    (
        "rendering one frame at a time, GPU", "rendering_gpu",
        "rendering, blendshapes, 512 px, 16000 Gaussians, one at a time",
    ),
)  # fmt: skip


def number(value: Any) -> str:
    """A measured value as text: four digits at most, thousands grouped."""
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    return text.removesuffix(".0")


def frames_rows(content: Row) -> list[Row]:
    """Rows of frames.json."""
    names = {
        "write_track": "packed track, written", "read_track": "packed track, read",
        "write_frames": "`.frame` files, written", "read_frames": "`.frame` files, read",
    }  # fmt: skip
    goals = {"write_frames": 10, "read_frames": 10, "write_track": 1, "read_track": 1}
    return [
        {
            "what": f"{content['frames']:,} frames: {names[key]}", "value": seconds, "unit": "s",
            "target": goals[key], "machine": content["machine"],
        }
        for key, seconds in content["seconds"].items()
    ]  # fmt: skip


def photometric_rows(content: Row) -> list[Row]:
    """Rows of photometric.json: the refined track against the landmark track."""
    names = {
        "turn_degrees": ("head rotation, error", "degrees", 0.2),
        "turn_spread_degrees": ("the same less its mean", "degrees", None),
        "vertices_mm": ("face vertices, error", "mm", 0.8),
        "vertices_aligned_mm": ("the same after scale and rigid motion", "mm", None),
        "jaw_degrees": ("jaw, error", "degrees", None),
        "lids_correlation": ("lids, correlation", "", None),
    }
    results = content["results"]
    rows = []
    for key, (what, unit, target) in names.items():
        before, after = (
            statistics.median(r[when][key] for r in results) for when in ("before", "after")
        )
        rows.append(
            {
                "what": what, "value": after, "unit": unit, "target": target,
                "peer": "landmarks alone", "peer_value": before, "machine": content["machine"],
            }
        )  # fmt: skip
    time = statistics.median(r["ms_a_frame"] for r in results)
    more = {"value": time, "unit": "ms", "target": 50, "machine": content["machine"]}
    return [*rows, {"what": "time of a frame, decoding included", **more}]


def refined_quality_rows(content: Row) -> list[Row]:
    """The row of refined_quality.json."""
    psnr = {name: statistics.mean(values) for name, values in content["psnr_head"].items()}
    return [
        {
            "what": "held-out psnr_head, refined track", "value": psnr["track"], "unit": "dB",
            "peer": "landmarks alone", "peer_value": psnr["landmark_track"],
            "machine": content["machine"],
        }
    ]  # fmt: skip


CONVERTED = {
    "body": body_rows,
    "frames": frames_rows,
    "photometric": photometric_rows,
    "refined_quality": refined_quality_rows,
}


def read_rows(root: Path, name: str) -> list[Row]:
    """Rows of one results file, without those that contain lists (each kill of a run)."""
    content = json.loads((root / RESULTS / f"{name}.json").read_text())
    rows = CONVERTED[name](content) if name in CONVERTED else content
    return [row for row in rows if not isinstance(row["value"], list)]


def value_of(row: Row) -> str:
    """The measured value with its unit."""
    return f"{number(row['value'])} {row.get('unit') or ''}".strip()


def goal_of(row: Row) -> str:
    """The target, and whether it was missed."""
    target, value = row.get("target"), row["value"]
    if target is None:
        return ""
    if isinstance(target, str) or isinstance(value, str):
        return str(target)
    missed = value < target if more_is_better(row) else value > target
    return f"{number(target)}{': **missed**' if missed else ''}"


def more_is_better(row: Row) -> bool:
    """Whether a larger value is the better one; of times, errors and memory it is not."""
    high = ("images/s", "frames/s", "dB", "of them", "x")
    high_unit = row.get("unit") in high or "correlation" in row["what"]
    return high_unit or row.get("best") == "high"


def table(rows: list[Row], with_command: bool) -> list[str]:
    """The rows as a table, without columns that no row fills."""
    columns = {
        "what": [row["what"] for row in rows],
        "value": [value_of(row) for row in rows],
        "goal": [goal_of(row) for row in rows],
        "compared with": [row.get("peer") or "" for row in rows],
        "its value": [
            value_of({**row, "value": row["peer_value"]}) if row.get("peer") else "" for row in rows
        ],
        "machine": [row.get("machine") or "" for row in rows],
        "command": [f"`{row['command']}`" if row.get("command") else "" for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    if not with_command:
        kept.pop("command", None)
    lines = [f"| {' | '.join(kept)} |", "|" + "---|" * len(kept)]
    return lines + [f"| {' | '.join(cells)} |" for cells in zip(*kept.values(), strict=True)]


INTRODUCTION = """# Benchmarks

<!-- Generated by benchmarks/page.py from benchmarks/results/*.json; do not edit. -->

`make bench` reruns the benchmarks that need no GPU. Each section names the command that writes
its numbers. `CLIP` is a subject's folder under `work/`, `HEAD` its head model under `work/heads/`.
"2 cores" is a virtual machine with two cores of an AMD EPYC. A goal that was not reached is marked.

Known weaknesses: half-closed lids can stay too open on turned heads, and shut too far on tilted
ones. The mouth's inside and
loose strands of hair are soft. Hair that hangs moves with the head, without a lag. On
real clips, held-out frames lose 7 to 10 dB against training frames.
"""


def sections(root: Path) -> list[Section]:
    """The sections above that have results, then one for each remaining results file."""
    files = {path.stem for path in (root / RESULTS).glob("*.json")}
    listed = [section for section in SECTIONS if section.name in files]
    others = sorted(files - {section.name for section in SECTIONS})
    script = "python benchmarks/{}.py"
    return listed + [
        Section(name, name, script.format(name.removesuffix("_gpu").lower())) for name in others
    ]


def page(root: Path) -> str:
    """Text of docs/benchmarks.md."""
    parts = [INTRODUCTION]
    for section in sections(root):
        rows = read_rows(root, section.name)
        parts.append(f"## {section.title}\n")
        if section.text:
            parts.append(f"{section.text}\n")
        if section.command:
            parts.append(f"    {section.command}\n")
        parts.append("\n".join(table(rows, not section.command)) + "\n")
    return "\n".join(parts)


def headlines(root: Path) -> str:
    """The README's table."""
    commands = {section.name: section.command.split(" --")[0] for section in SECTIONS}
    lines = ["| what | value | command |", "|---|---|---|"]
    for words, name, what in HEADLINES:
        (row,) = (row for row in read_rows(root, name) if row["what"] == what)
        lines.append(f"| {words} | {value_of(row)} | `{commands[name]}` |")
    return "\n".join(lines)


def with_headlines(readme: str, lines: str) -> str:
    """The README with its table of numbers replaced."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END, 1)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    texts = {
        ROOT / PAGE: page(ROOT),
        ROOT / README: with_headlines((ROOT / README).read_text(), headlines(ROOT)),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(texts[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
