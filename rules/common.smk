# The only rules file with functions: settings, chunk names and what rules share.
import sys
from pathlib import Path
from shlex import quote

sys.path.insert(0, str(Path(workflow.basedir) / "workflow_scripts"))
from headsplat import config as settings_module, motions_table, process, runlock
from headsplat.assets.check import verify_used
from headsplat.assets.needs import Assets, as_flags
from headsplat.codehash import code_version
from headsplat.errors import UserError
from headsplat.imports.kinds import ALPHA, KINDS, PARSING

process.prepare_stages()


def or_exit(function, *args):
    """Call; a problem the user can mend becomes one line and exit status 1."""
    try:
        return function(*args)
    except UserError as error:
        sys.exit(f"error: {error}")


or_exit(
    settings_module.validate,
    config,
    Path(workflow.basedir) / "config/schema.yaml",
    "config/config.yaml",
)
SUBJECTS = or_exit(settings_module.read_subjects, Path(config["subjects"]), config["presets"])
or_exit(settings_module.check_checkpoints, SUBJECTS, config)

# Beside the table of subjects; without it there are no motions.
MOTIONS_TABLE = Path(config["subjects"]).with_name("motions.tsv")
MOTIONS = or_exit(motions_table.read_motions, MOTIONS_TABLE, SUBJECTS)

FINAL = [
    "results/{subject}/avatar/report.html",
    "results/{subject}/avatar/test.mp4",
    "results/{subject}/avatar/metrics.json",
    "results/{subject}/dataset",
    "results/{subject}/checkpoint",
    "work/{subject}/track/overlay.mp4",
]


IMPORTED = {name: KINDS[row["kind"]](Path(row["folder"])) for name, row in SUBJECTS.items() if "kind" in row}


def only(names):
    """A wildcard constraint that just these subjects match."""
    return "|".join(sorted(names)) or "(?!)"


def with_column(column):
    """The subjects whose rows fill an optional column."""
    return {name for name, row in SUBJECTS.items() if row.get(column)}


def imported(part):
    """The subjects whose import brings masks of one sort."""
    return {name for name, parts in IMPORTED.items() if part in parts}


# Each file of a subject is made in one place; these say in which.
FROM_VIDEO = only(SUBJECTS.keys() - IMPORTED.keys())
FROM_IMPORT = only(IMPORTED)
ALPHA_MADE, ALPHA_IMPORTED = only(SUBJECTS.keys() - imported(ALPHA)), only(imported(ALPHA))
PARSING_MADE, PARSING_IMPORTED = only(SUBJECTS.keys() - imported(PARSING)), only(imported(PARSING))


wildcard_constraints:
    subject=settings_module.SUBJECT_NAME,
    chunk=r"\d{3}",


def hold_run_lock():
    """One run at a time in this folder."""
    or_exit(runlock.hold)


def settings(subject, section):
    """One section of the configuration as the subject's preset leaves it."""
    preset = config["presets"][SUBJECTS[subject]["preset"]]
    return settings_module.merged(config, preset)[section]


ASSETS = Assets(config, SUBJECTS, settings)
USED_ASSETS = {}


def asset_path(need):
    """Inputs of an asset; it is noted, so that its hash is checked before the first job."""
    if need is None:
        return []
    USED_ASSETS[need.path] = need
    return [str(need.path)]


def asset(key):
    """Input function: an asset that the rule cannot do without."""
    return lambda wildcards: asset_path(or_exit(ASSETS.required, key))


def weights(section):
    """Input function: the weights of a stage's network, where it runs one; adding them reruns it."""
    return lambda wildcards: asset_path(or_exit(ASSETS.weights, wildcards.subject, section))


def identity_weights(wildcards):
    """Input function: MICA's weights."""
    return asset_path(or_exit(ASSETS.identity_weights, wildcards.subject))


def weights_flag(wildcards, input):
    """Params function: the weights among the inputs, where there are any."""
    return f"--weights {input.weights}" if input.weights else ""


def check_used_assets():
    """Files that the run's jobs read are the published ones, or those that were first used."""
    or_exit(verify_used, list(USED_ASSETS.values()))


def chunk_count(wildcards):
    """Number of chunks of the subject."""
    return settings(wildcards.subject, "chunks")


def chunks(*stages):
    """Input function: all chunk files of the stages named, in order."""

    def files(wildcards):
        count = chunk_count(wildcards)
        return [
            f"work/{wildcards.subject}/{folder}/{chunk:03d}.{suffix}"
            for folder, suffix in stages
            for chunk in range(count)
        ]

    return files


def options(section):
    """Params function: the section as command-line flags, so that only its values rerun a rule."""

    def flags(wildcards):
        values = settings(wildcards.subject, section).items()
        return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in values if value is not None)

    return flags


def option(section, key):
    """Params function: one option's value."""
    return lambda wildcards: settings(wildcards.subject, section)[key]


def row_file(column):
    """Optional input: the file that an optional column of the subject's row names."""
    return lambda wildcards: SUBJECTS[wildcards.subject].get(column) or []


def checkpoint_flag(wildcards, input):
    """Params function: the checkpoint that training goes on from, where there is one."""
    return f"--checkpoint {quote(input.checkpoint)}" if input.checkpoint else ""


def head_file(wildcards):
    """The head model that the subject's row names."""
    return f"work/heads/{SUBJECTS[wildcards.subject]['head']}.npz"


def source_video(wildcards):
    """The subject's video; the built-in one is rendered by the workflow."""
    video = SUBJECTS[wildcards.subject]["video"]
    return BUILTIN_CLIP if video == settings_module.BUILTIN_VIDEO else video


def sound_source(wildcards):
    """Optional input: the video whose sound goes with the result; imports have none."""
    return [] if wildcards.subject in IMPORTED else source_video(wildcards)


def sound_flag(wildcards, input):
    """Params function: the video whose sound goes with the result, where there is one."""
    return f"--video {input.video}" if input.video else ""


def import_folders(wildcards):
    """What an import is read from: its folder and those in it, so that new files are noticed."""
    row = SUBJECTS[wildcards.subject]
    inside = (str(path) for path in Path(row["folder"]).iterdir() if path.is_dir())
    return [row["folder"], *sorted(inside), *([row["video"]] if row["video"] else [])]


def import_flags(wildcards):
    """Params function: what the subject's row says about its import."""
    row = SUBJECTS[wildcards.subject]
    names = {"video": "pictures", "frame_delta": "frame-delta", "flame_version": "flame-version"}
    flags = [f"--{flag} {quote(row[key])}" for key, flag in names.items() if row.get(key)]
    return " ".join([f"--kind {row['kind']} --folder {quote(row['folder'])}", *flags])


def previous_and_this(wildcards):
    """This chunk's frames after the previous chunk's, which warm up recurrent stages."""
    chunk = int(wildcards.chunk)
    return [f"work/{wildcards.subject}/frames/{c:03d}.zip" for c in range(max(chunk - 1, 0), chunk + 1)]


def identity_code(wildcards):
    """Optional input: the identity the subject's row names, else MICA's where its weights are."""
    named = SUBJECTS[wildcards.subject].get("identity")
    if named or not identity_weights(wildcards):
        return named or []
    return f"work/{wildcards.subject}/mica.npy"


def intrinsics_flag(wildcards):
    """Params function: the camera that the subject's row states; it must not look at the inputs, or
    an edited row would rerun nothing."""
    intrinsics = SUBJECTS[wildcards.subject].get("intrinsics")
    return f"--intrinsics {intrinsics}" if intrinsics else ""


def neck_flag(wildcards):
    """Params function: whether the head's turns are shared out between trunk and neck."""
    return "--neck" if settings(wildcards.subject, "track")["neck"] else ""


def identity_flag(wildcards, input):
    """Params function: the identity code among the inputs, where there is one."""
    return f"--identity {input.identity}" if input.identity else ""


def refined(wildcards):
    """Whether the track is held against the pictures."""
    return settings(wildcards.subject, "track")["photometric"] != "never"


def refine_inputs(wildcards):
    """Input function: pictures and mattes, where the track is held against them."""
    if not refined(wildcards):
        return {}
    return {"frames": chunks(("frames", "zip"))(wildcards), "alpha": chunks(("alpha", "zip"))(wildcards)}


def refine_flags(wildcards, input):
    """Params function: the pictures and mattes, where the track is held against them."""
    return f"--frames {input.frames} --alpha {input.alpha}" if refined(wildcards) else ""


def refinement_file(wildcards):
    """Optional input: what the refinement did; imported tracks have none."""
    return [] if wildcards.subject in IMPORTED else f"work/{wildcards.subject}/track/refinement.json"


def refinement_flag(wildcards, input):
    """Params function: what the refinement did, where there was one."""
    return f"--refinement {input.refinement}" if input.refinement else ""


def parse_inputs(wildcards):
    """Input function: pictures and weights for a network; for geometry all that is tracked."""
    folder, chunk = f"work/{wildcards.subject}", wildcards.chunk
    inputs = {"frames": f"{folder}/frames/{chunk}.zip"}
    network = weights("parse")(wildcards)
    if network:
        return inputs | {"weights": network}
    return inputs | {
        "head": head_file(wildcards),
        "track": f"{folder}/track/track.npz",
        "landmarks": f"{folder}/landmarks.npz",
        "crop": f"{folder}/crop.json",
        "alpha": f"{folder}/alpha/{chunk}.zip",
    }


def input_flags(wildcards, input):
    """Params function: every named input as a flag."""
    return " ".join(f"--{name} {value}" for name, value in input.items())


def lpips_weights(wildcards):
    """Optional input: the weights of LPIPS-VGG where they are, so that adding them reruns."""
    files = ("assets/vgg16-397923af.pth", "assets/vgg.pth")
    return [file for file in files if all(Path(f).is_file() for f in files)]


def motion_row(wildcards):
    """The table's row of a motion, which the subject's head can play."""
    head = SUBJECTS[wildcards.subject]["head"]
    return or_exit(motions_table.motion_for, MOTIONS, MOTIONS_TABLE, wildcards.motion, head)


def motion_file(column):
    """Input function: a file that the motion's row names, where it names one."""
    return lambda wildcards: motion_row(wildcards)[column] or []


def motion_flags(wildcards):
    """Params function: what the motion's row says about it; of the row alone, so that edits rerun."""
    row = motion_row(wildcards)
    flags = f"--kind {row['kind']} --head-motion {row['head_motion']} --blinks {row['blinks']}"
    return f"{flags} --audio {quote(row['audio'])}" if row["audio"] else flags


def truth_flag(wildcards):
    """Params function: the built-in clip's truth, which only the report may read."""
    builtin = SUBJECTS[wildcards.subject]["video"] == settings_module.BUILTIN_VIDEO
    return f"--truth {BUILTIN_TRUTH}" if builtin else ""


BUILTIN_CLIP = "work/builtin/demo.mp4"
BUILTIN_TRUTH = "work/builtin/truth.npz"
KERNELS = sorted(
    str(path.relative_to(workflow.basedir))
    for path in Path(workflow.basedir, "cuda_ext").glob("**/*")
    if path.suffix in (".cpp", ".cu", ".cuh", ".h", ".py")
)
