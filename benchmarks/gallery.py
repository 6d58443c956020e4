"""Draw the README's images from a finished demo run.

    python benchmarks/gallery.py prepare   # write tables and a motion for the workflow to render
    python benchmarks/gallery.py draw      # the images of docs/images

`make gallery` runs both and, in between, the workflow. This script renders no frames; it reads all
images from the workflow's outputs, and page.webp is what Debian's chromium shows of the web page.
"""

import argparse
import csv
import io
import json
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import CubicSpline

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS  # noqa: E402
from headsplat.synthetic.score import hello  # noqa: E402
from headsplat.video.sound import read_sound  # noqa: E402
from tests.browser import Browser  # noqa: E402

FPS, SECONDS = 25, 4
# Largest size of the animation, bytes, and WebP qualities to try.
LARGEST, QUALITIES = 2_000_000, (80, 70, 60, 50, 40, 30)
TILE, GAP, STRIP = 268, 6, 26
# Part of an image that a tile shows, shares of its side: left, top, right, bottom.
SHOWN = (0.06, 0.06, 0.94, 0.94)
PAPER, INK, FRAME = (255, 255, 255), (36, 41, 47), (208, 215, 222)
# Lids are open below this closure, 0..1.
OPEN = 0.25

SUBJECTS = "subject\tvideo\thead\tpreset\ndemo\tbuiltin\tprocedural\tpreview\n"
MOTIONS = """name\tkind\tfile\thead_motion
own_track\ttrack\tdemo\tabsolute
performance\tarkit\t{folder}/performance.csv\trelative
hello\tspeech\tbuiltin\tstill
"""
# Phones of the built-in sentence that the image of speech shows, by number.
PHONES_SHOWN = (2, 4, 10, 14, 18, 19, 25)
FACE_SHOWN = (0.28, 0.24, 0.72, 0.68)  # as `SHOWN`, of a head that keeps still
FACE, WAVE = 180, 90  # pixels: side of its tiles, height of its waveform
# The image of the web page: its window, largest size in bytes, and sliders as parts of their range.
WINDOW, LARGEST_PAGE = (1240, 720), 200_000
MOVED = {"mouthSmile": 1, "browInnerUp": 0.8, "jawOpen": 0.35}
# Seconds -> ARKit coefficients (0..1) and head angles (radians); the curves close after 4 s.
KEYS: dict[float, dict[str, float]] = {
    0.0: {"smile": 0.2},
    0.5: {"smile": 0.8, "brows": 0.8, "HeadPitch": -0.08, "HeadYaw": 0.08},
    1.0: {"JawOpen": 0.5, "MouthFunnel": 0.4, "brows": 0.5, "HeadYaw": 0.32, "HeadRoll": -0.06},
    1.4: {"MouthPucker": 0.6, "HeadYaw": 0.28},
    1.9: {"JawOpen": 0.15, "frown": 0.7, "blink": 1.0, "HeadPitch": 0.14},
    2.4: {"JawOpen": 0.45, "frown": 0.3, "HeadYaw": -0.28, "HeadRoll": 0.06},
    2.9: {"MouthFunnel": 0.5, "JawOpen": 0.2, "HeadYaw": -0.34},
    3.4: {"smile": 0.9, "JawOpen": 0.35, "brows": 0.4, "HeadYaw": -0.1, "HeadPitch": -0.05},
}
SMILE = 0.5  # seconds; the moment of the performance that the still shows
# Names in `KEYS` that set several coefficients.
GROUPS = {
    "smile": ("MouthSmileLeft", "MouthSmileRight"),
    "brows": ("BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight"),
    "frown": ("BrowDownLeft", "BrowDownRight"),
    "blink": ("EyeBlinkLeft", "EyeBlinkRight"),
}


def performance() -> dict[str, np.ndarray]:
    """Column of a Live Link Face table -> its value in each frame of one loop."""
    times = np.arange(FPS * SECONDS) / FPS
    curves: dict[str, np.ndarray] = {}
    for name in sorted({name for key in KEYS.values() for name in key}):
        values = [key.get(name, 0.0) for key in KEYS.values()]
        spline = CubicSpline([*KEYS, SECONDS], [*values, values[0]], bc_type="periodic")
        curve = spline(times)
        for column in GROUPS.get(name, (name,)):
            curves[column] = curve if column in ROTATIONS else curve.clip(0, 1)
    return curves


def prepare(folder: Path) -> None:
    """Write the tables and the driving motion whose video `draw` uses."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = performance()
    with open(folder / "performance.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendShapeCount", *BLENDSHAPES, *ROTATIONS])
        for frame in range(FPS * SECONDS):
            second, part = divmod(frame, FPS)
            values = [
                round(float(curves[name][frame]), 4) if name in curves else 0.0
                for name in (*BLENDSHAPES, *ROTATIONS)
            ]
            writer.writerow([f"00:00:{second:02d}:{part:02d}.000", 61, *values])
    (folder / "subjects.tsv").write_text(SUBJECTS)
    (folder / "motions.tsv").write_text(MOTIONS.format(folder=folder))


def video(path: Path) -> list[np.ndarray]:
    """All frames of a video, uint8 (H, W, 3)."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def packed(folder: Path) -> dict[str, np.ndarray]:
    """Name without suffix -> image, of all packed chunks in a folder."""
    images = {}
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as chunk:
            for name in chunk.namelist():
                image = Image.open(io.BytesIO(chunk.read(name)))
                images[name.rpartition(".")[0]] = np.asarray(image)
    return images


def tile(image: np.ndarray, side: int = TILE, shown: tuple[float, ...] = SHOWN) -> Image.Image:
    """A part of a square image as a framed tile of `side` pixels, uint8 (H, W, 3)."""
    whole = Image.fromarray(image)
    box = tuple(share * whole.width for share in shown)
    drawn = whole.resize((side, side), Image.Resampling.LANCZOS, box)
    ImageDraw.Draw(drawn).rectangle((0, 0, side - 1, side - 1), outline=FRAME)
    return drawn


def sheet(rows: list[list[tuple[str, np.ndarray]]]) -> Image.Image:
    """Labeled tiles in rows on white."""
    width = max(len(row) for row in rows) * (TILE + GAP) - GAP
    height = len(rows) * (TILE + STRIP + GAP) - GAP
    paper = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(15)
    for r, row in enumerate(rows):
        for c, (label, image) in enumerate(row):
            left, top = c * (TILE + GAP), r * (TILE + STRIP + GAP)
            draw.text((left + TILE / 2, top + STRIP / 2 - 1), label, INK, font, anchor="mm")
            paper.paste(tile(image), (left, top + STRIP))
    return paper


def best_loop(frames: list[np.ndarray], length: int) -> int:
    """Start of the interval whose first and last images are most similar, for a smooth loop."""
    small = np.stack([frame[::8, ::8].astype(np.float32) for frame in frames])
    error = np.abs(small[:-length] - small[length:]).mean((1, 2, 3))
    return int(error.argmin())


def animation(demo: Path, results: Path, out: Path) -> None:
    """Looping animation of ground truth | render | driven, at most `LARGEST` bytes."""
    truth = packed(demo / "frames")
    truth = [truth[name] for name in sorted(truth)]
    render, driven = (video(results / f"driven/{n}.mp4") for n in ("own_track", "performance"))
    start = best_loop(truth, FPS * SECONDS)
    labels = ("ground truth", "render of the same frame", "driven by ARKit coefficients")
    sheets = [
        sheet([list(zip(labels, (truth[start + k], render[start + k], driven[k]), strict=True))])
        for k in range(FPS * SECONDS)
    ]
    for quality in QUALITIES:
        data = io.BytesIO()
        sheets[0].save(
            data, "WEBP", save_all=True, append_images=sheets[1:], duration=1000 // FPS, loop=0,
            quality=quality, method=6,
        )  # fmt: skip
        if data.tell() <= LARGEST:
            break
    out.write_bytes(data.getvalue())
    print(f"{out}: {data.tell() / 1e6:.2f} MB, quality {quality}, frames from {start + 1} on")


def still(demo: Path, results: Path, out: Path) -> None:
    """The outputs of the stages for one held-out frame."""
    held_out = json.loads((demo / "split.json").read_text())["test"]
    images, alpha = packed(demo / "frames"), packed(demo / "alpha")
    masks = packed(demo / "parsing")
    with np.load(demo / "track/track.npz") as track:
        closed = dict(zip(track["ids"].tolist(), track["eyelids"].max(1).tolist(), strict=True))
    # Choose a frame with open mouth and open eyes.
    seen = [frame for frame in held_out if closed[frame] < OPEN]
    frame = max(seen, key=lambda k: int((masks[f"{k:05d}_mouth"] > 127).sum()))
    name = f"{frame:05d}"
    image, matte = images[name].astype(np.float32), alpha[name][..., None] / 255
    head, mouth = (masks[f"{name}_{part}"][..., None] > 127 for part in ("neckhead", "mouth"))
    color = np.where(mouth, (216, 108, 36), np.where(head, (22, 104, 168), 60))
    driven = video(results / "driven/performance.mp4")
    rows = [
        [
            ("frame of the video, cropped", images[name]),
            ("track", video(demo / "track/overlay.mp4")[frame - 1]),
            ("matte", (image * matte + 255 * (1 - matte)).astype(np.uint8)),
        ],
        [
            ("masks of head and mouth", (image * 0.4 + color * 0.6).astype(np.uint8)),
            ("render, frame held out", video(results / "driven/own_track.mp4")[frame - 1]),
            ("driven by ARKit coefficients", driven[int(FPS * SMILE)]),
        ],
    ]
    sheet(rows).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, frame {frame}")


def spoken(results: Path, out: Path) -> None:
    """Frames of the spoken video at some phones, above the sound with these moments."""
    speech, frames = hello(), video(results / "driven/hello.mp4")
    samples, _ = read_sound(results / "driven/hello.mp4")
    seconds = len(frames) / FPS
    width = len(PHONES_SHOWN) * (FACE + GAP) - GAP
    paper = Image.new("RGB", (width, STRIP + FACE + GAP + WAVE), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(15)
    top, middle = STRIP + FACE + GAP, STRIP + FACE + GAP + WAVE / 2
    peaks = [np.abs(part).max() for part in np.array_split(samples[:, 0], width)]
    for x, peak in enumerate(np.array(peaks) / max(peaks)):
        draw.line((x, middle - peak * WAVE / 2, x, middle + peak * WAVE / 2), FRAME)
    for place, number in enumerate(PHONES_SHOWN):
        time = (speech.starts[number] + speech.starts[number + 1]) / 2
        name = speech.names[number].replace("-", "pause")
        left, x = place * (FACE + GAP), time / seconds * width
        draw.text((left + FACE / 2, STRIP / 2 - 1), name, INK, font, anchor="mm")
        paper.paste(tile(frames[round(time * FPS)], FACE, FACE_SHOWN), (left, STRIP))
        draw.line((x, top, x, top + WAVE), INK)
        draw.text((x + 3, top + WAVE), name, INK, font, anchor="lb")
    paper.save(out, optimize=True)


def page(file: Path, out: Path) -> None:
    """The web page with an expression that its sliders made, on a screen of twice the pixels."""
    width, height = WINDOW
    with Browser() as browser:
        shown = browser.page(file.absolute().as_uri(), width, height)
        screen = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": False}
        browser.wait(shown.call("Emulation.setDeviceMetricsOverride", **screen))
        shown.until("document.getElementById('waiting').hidden")
        shown.run("document.getElementById('face').open = true")
        for name, share in MOVED.items():
            shown.run(
                f"""(() => {{ const row = [...document.querySelectorAll('.slider')]
                .find((e) => e.querySelector('span').textContent === '{name}');
                const slider = row.querySelector('input');
                slider.value = Number(slider.min) + {share} * (slider.max - slider.min);
                slider.dispatchEvent(new Event('input')); }})()"""
            )
        shown.run("new Promise((done) => setTimeout(done, 1500))")
        image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    for quality in QUALITIES:
        image.save(out, "WEBP", quality=quality, method=6)
        if out.stat().st_size <= LARGEST_PAGE:
            break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("prepare", "draw"))
    parser.add_argument("--tables", type=Path, default=Path("work/gallery"), help="of `prepare`")
    parser.add_argument("--demo", type=Path, default=Path("work/demo"))
    parser.add_argument("--page", type=Path, help="of the demo; by default in its results")
    parser.add_argument("--results", type=Path, default=Path("results/demo"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    arguments = parser.parse_args()
    if arguments.step == "prepare":
        prepare(arguments.tables)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    animation(arguments.demo, arguments.results, arguments.out / "demo.webp")
    still(arguments.demo, arguments.results, arguments.out / "results.png")
    spoken(arguments.results, arguments.out / "speech.png")
    file = arguments.page or arguments.results / "export/web/demo.html"
    page(file, arguments.out / "page.webp")


if __name__ == "__main__":
    main()
