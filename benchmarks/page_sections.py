"""The sections of docs/benchmarks.md, and the README's headline numbers."""

from dataclasses import dataclass

CLIP = "--clip CLIP --head HEAD"


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
        "quality", "Quality", "python benchmarks/quality.py --head HEAD --clips CLIP CLIP ...",
        "Held-out frames of real clips on the head `ict`, 512 px, 48,000 training images without "
        "LPIPS: means over the seeds, and half of their range. `gap` is what held-out frames lose "
        "against training frames. `shut` are the eyes of frames with a lid more than half shut. "
        "Flicker is in thousandths of the color range.",
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
        "held-out PSNR of the head, real clip", "quality", "talking: default",
    ),
    (
        "rendering one frame at a time, GPU", "rendering_gpu",
        "rendering, blendshapes, 512 px, 16000 Gaussians, one at a time",
    ),
)  # fmt: skip
