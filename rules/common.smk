# The only rules file with functions: settings, chunk names and what rules share. Input and params
# functions are called once per job, so what a subject's jobs share is kept.
import json
import os
import sys
import time
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow_scripts"))
from headsplat_workflow import clock, config as settings_module, motions, runlock, shutdown
from headsplat.runtime import process, storage
from headsplat_workflow import failed_jobs, named_rows, resources as requests
from headsplat.runtime import gpu, watching
from headsplat_workflow.assets.check import verify_used
from headsplat_workflow.arguments import argument, arguments
from headsplat_workflow.assets.needs import Assets, as_flags
from headsplat_workflow.codehash import code_version, read_sources
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.fingerprint import fingerprint
from headsplat.formats.importing.kinds import ALPHA, KINDS, PARSING
from headsplat_workflow import literal_names, planning, refusals
from headsplat_workflow.progress import ProgressThread
from headsplat_workflow.summary import jobs_of, summary
from headsplat_workflow.user_files import folders_in

planning.install()
literal_names.install()
process.prepare_stages()
shutdown.install(workflow)
failed_jobs.install()
read_sources(Path(".snakemake/headsplat/sources.json"))


# Rules that make no file and only tell.
LOOKS = ("plan", "status", "doctor", "assets_check")
PROGRESS = []


def or_exit(function, *args):
    """Call; a problem the user can mend becomes one line and exit status 1."""
    try:
        return function(*args)
    except UserError as error:
        sys.exit(f"error: {error}")


def option_files():
    """The files that options come from, as they are named from here."""
    given = [Path(path) for path in workflow.config_settings.configfiles]
    here = Path.cwd()
    return ["config/config.yaml", *(str(p.relative_to(here) if p.is_relative_to(here) else p) for p in given)]


or_exit(
    settings_module.validate,
    config,
    Path(workflow.basedir) / "config/schema.yaml",
    " or ".join(option_files()),
)
watching.set_limits(**config["watchdog"])
SUBJECTS = or_exit(settings_module.read_subjects, Path(config["subjects"]), config["presets"])
settings_module.refuse_checkpoints(SUBJECTS, config)
if workflow.is_main_process:  # clocks of other machines differ
    clock.refuse_future(SUBJECTS)

# Beside the table of subjects; without it there are no motions.
MOTIONS = or_exit(motions.read_motions, Path(config["subjects"]).with_name("motions.tsv"), SUBJECTS)

REFUSALS = refusals.Refusals()
REFUSED = [
    REFUSALS.file(kind, name, line)
    for kind, rows in ((refusals.SUBJECT, SUBJECTS), (refusals.MOTION, MOTIONS))
    for name, line in rows.refused.items()
]
REFUSALS.install(workflow)

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
    return settings_module.pattern_among(names, SUBJECTS)


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
    subject=named_rows.NAME,
    chunk=r"\d{3}",


def check_surroundings():
    """A full disk, or one that cannot be written, ends the run at once."""
    if not only_looks():
        or_exit(storage.require_room, [".snakemake", "work", "results", "scratch", "logs"])


def only_looks():
    """Whether all that was asked for is to be shown something, which a run beside it may go on under."""
    return all(job.rule.name in LOOKS for job in workflow.dag.needrun_jobs())


def hold_run_lock():
    """One run at a time in this folder."""
    if not only_looks():
        or_exit(runlock.hold)


def show_progress():
    """Say now and then where the run stands."""
    if not only_looks():
        PROGRESS.append(ProgressThread(workflow))
        PROGRESS[0].start()


def print_summary():
    """Say what became of each subject."""
    for thread in PROGRESS:
        thread.finish()
        failed = workflow.scheduler.failed
        jobs = jobs_of(workflow.dag, failed, shutdown.ended_since(failed))
        print(summary(jobs, shutdown.stopped()), file=sys.stderr, flush=True)


PRESETS = {name: settings_module.merged(config, preset) for name, preset in config["presets"].items()}


def row_of(subject):
    """The subject's row of the table; a name that it does not list ends the run."""
    return or_exit(SUBJECTS.__getitem__, subject)


def refusal_line(wildcards):
    """Params function: what is wrong with a row."""
    return REFUSALS[wildcards.refused]


def user_file(path, subject):
    """Input: a file or folder that the subject's row names, whatever its name. If it was removed after
    the table was read, the subject fails alone."""
    if os.path.exists(path):
        return literal_names.literal(path)
    line = f"{SUBJECTS.table}: '{shown(path)}' of '{subject}' is not there any more; put it back"
    return REFUSALS.file(refusals.SUBJECT, subject, line)


def settings(subject, section):
    """One section of the configuration as the subject's preset leaves it."""
    return PRESETS[row_of(subject)["preset"]][section]


ASSETS = Assets(config, SUBJECTS, settings)
USED_ASSETS = {}


def asset_path(need):
    """Inputs of an asset; it is noted, so that its hash is checked before the first job."""
    if need is None:
        return []
    USED_ASSETS[need.path] = need
    return [literal_names.literal(str(need.path))]


def needs_flags(wildcards):
    """Params function: every asset that the configuration can use. As a constant, braces in their
    names would be taken for wildcards."""
    return as_flags(ASSETS.all())


def asset(key):
    """Input function: an asset that the rule cannot do without."""
    return lambda wildcards: asset_path(or_exit(ASSETS.required, key))


def weights(section):
    """Input function: the weights of a stage's network, where it runs one; adding them reruns it."""
    of = cache(lambda subject: asset_path(or_exit(ASSETS.weights, subject, section)))
    return lambda wildcards: of(wildcards.subject)


@cache
def mica_of(subject):
    """MICA's weights, where the subject's identity comes from them."""
    return asset_path(or_exit(ASSETS.identity_weights, subject))


def identity_weights(wildcards):
    """Input function: MICA's weights."""
    return mica_of(wildcards.subject)


def weights_flag(wildcards, input):
    """Params function: the weights among the inputs, where there are any."""
    return argument("weights", input.weights)


def check_used_assets():
    """Files that the run's jobs read are the published ones, or those that were first used."""
    or_exit(verify_used, list(USED_ASSETS.values()))


def chunk_count(wildcards):
    """Number of chunks of the subject."""
    return settings(wildcards.subject, "chunks")


# What a job asks of its machine, by its rule, its frames and its attempt. None of it is a param, so
# none of it reruns anything.
FRAMES_PROBED, FRAMES_GUESSED = {}, {}


def clip_frames(subject):
    """Frames of a subject's clip: those probed, before that a generous guess by the file's size."""
    if subject in FRAMES_PROBED:
        return FRAMES_PROBED[subject]
    # Planning asks three times per job: one look every few seconds is enough.
    looked, guess = FRAMES_GUESSED.get(subject, (None, None))
    if looked is not None and time.monotonic() - looked < 5:
        return guess
    probed = requests.probed_frames(Path("work", subject, "video.json"))
    if probed is not None:
        return FRAMES_PROBED.setdefault(subject, probed)
    if guess is None:
        video = row_of(subject)["video"]
        builtin = video == settings_module.BUILTIN_VIDEO
        guess = config["builtin"]["seconds"] * 25 if builtin else requests.frames_by_size(Path(video))
    FRAMES_GUESSED[subject] = time.monotonic(), guess
    return guess


def job_frames(wildcards):
    """Frames that a job works on: its chunk's, its subject's, or none."""
    if "subject" not in wildcards.keys():
        return config["builtin"]["seconds"] * 25
    frames = clip_frames(wildcards.subject)
    return frames / chunk_count(wildcards) if "chunk" in wildcards.keys() else frames


def memory_mb(wildcards, attempt, rulename):
    """Resources function: megabytes of memory."""
    return requests.memory_mb(rulename, job_frames(wildcards), attempt)


def run_minutes(wildcards, attempt, rulename):
    """Resources function: minutes until a batch system may end the job."""
    return requests.minutes(rulename, job_frames(wildcards), attempt)


def disk_mb(wildcards, rulename):
    """Resources function: megabytes of disk."""
    return requests.disk_mb(rulename, job_frames(wildcards))


def gpu_percent(wildcards, attempt):
    """Resources function: share of a gpu that images may fill; less after it ran out."""
    return requests.gpu_percent(attempt)


def limit_this_machine():
    """Jobs that run here share its gpus and memory, where the user set no other limits."""
    elsewhere = workflow.resource_settings.nodes is not None
    if elsewhere or not workflow.is_main_process:
        return
    if workflow.global_resources.get("mem_mb").value is None:
        workflow.register_resource("mem_mb", requests.machine_memory_mb())
    gpus = gpu.gpu_count()
    if gpus and workflow.global_resources.get("gpu").value is None:
        workflow.register_resource("gpu", gpus)


limit_this_machine()


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
    """Params function: the section as arguments, so that only its values rerun a rule."""
    of_preset = cache(lambda preset: arguments(PRESETS[preset][section]))
    return lambda wildcards: of_preset(row_of(wildcards.subject)["preset"])


def option(section, key):
    """Params function: one option's value."""
    return lambda wildcards: settings(wildcards.subject, section)[key]


def row_file(column):
    """Optional input: the file that an optional column of the subject's row names."""

    def file(wildcards):
        path = row_of(wildcards.subject).get(column)
        return user_file(path, wildcards.subject) if path else []

    return file


def checkpoint_flag(wildcards, input):
    """Params function: the checkpoint that training goes on from, where there is one."""
    return argument("checkpoint", input.checkpoint)


def head_file(wildcards):
    """The head model that the subject's row names."""
    return f"work/heads/{row_of(wildcards.subject)['head']}.npz"


def source_video(wildcards):
    """The subject's video; the built-in one is rendered by the workflow."""
    video = row_of(wildcards.subject)["video"]
    return BUILTIN_CLIP if video == settings_module.BUILTIN_VIDEO else video


def user_video(wildcards):
    """Input: the subject's video. What is in it counts (`video_content`) and not its date, unless
    the workflow renders it."""
    video = source_video(wildcards)
    return video if video == BUILTIN_CLIP else ancient(user_file(video, wildcards.subject))


@cache
def content_of(video):
    """What is in a video, in few characters; all its chunks ask."""
    try:
        return fingerprint(Path(video))
    except OSError:  # the job will say what is wrong with it
        return ""


def video_content(wildcards):
    """Params function: what is in the subject's video."""
    video = source_video(wildcards)
    return "" if video == BUILTIN_CLIP else content_of(video)


def sound_source(wildcards):
    """Optional input: the video whose sound goes with the result; imports have none."""
    return [] if wildcards.subject in IMPORTED else user_video(wildcards)


def sound_flag(wildcards, input):
    """Params function: the video whose sound goes with the result, where there is one."""
    return argument("video", input.video)


def import_folders(wildcards):
    """What an import is read from: its folder and those in it, so that new files are noticed."""
    row = row_of(wildcards.subject)
    named = [row["folder"], *([row["video"]] if row["video"] else [])]
    return [user_file(path, wildcards.subject) for path in [*named, *folders_in(row["folder"])]]


def import_flags(wildcards):
    """Params function: what the subject's row says about its import."""
    row = row_of(wildcards.subject)
    cells = {"kind": "kind", "folder": "folder", "video": "images"}
    cells |= {"frame_delta": "frame_delta", "flame_version": "flame_version"}
    return arguments({flag: row.get(cell) for cell, flag in cells.items()})


def previous_and_this(wildcards):
    """This chunk's frames after the previous chunk's, which warm up recurrent stages."""
    chunk = int(wildcards.chunk)
    return [f"work/{wildcards.subject}/frames/{c:03d}.zip" for c in range(max(chunk - 1, 0), chunk + 1)]


def identity_code(wildcards):
    """Optional input: the identity the subject's row names, else MICA's where its weights are."""
    named = row_of(wildcards.subject).get("identity")
    if named or not identity_weights(wildcards):
        return user_file(named, wildcards.subject) if named else []
    return f"work/{wildcards.subject}/mica.npy"


def intrinsics_flag(wildcards):
    """Params function: the camera that the subject's row states; it must not look at the inputs, or
    an edited row would rerun nothing."""
    return argument("intrinsics", row_of(wildcards.subject).get("intrinsics"))


def neck_flag(wildcards):
    """Params function: whether the head's turns are shared out between trunk and neck."""
    return ["--neck"] if settings(wildcards.subject, "track")["neck"] else []


def identity_flag(wildcards, input):
    """Params function: the identity code among the inputs, where there is one."""
    return argument("identity", input.identity)


def refined(wildcards):
    """Whether the track is held against the images."""
    return settings(wildcards.subject, "track")["photometric"] != "never"


def refine_gpus(wildcards):
    """Resources function: a gpu, where the track is held against the images."""
    return int(refined(wildcards))


def refine_inputs(wildcards):
    """Input function: images and mattes, where the track is held against them."""
    if not refined(wildcards):
        return {}
    return {"frames": chunks(("frames", "zip"))(wildcards), "alpha": chunks(("alpha", "zip"))(wildcards)}


def refine_flags(wildcards, input):
    """Params function: the images and mattes, where the track is held against them."""
    return ["--frames", *input.frames, "--alpha", *input.alpha] if refined(wildcards) else []


def refinement_file(wildcards):
    """Optional input: what the refinement did; imported tracks have none."""
    return [] if wildcards.subject in IMPORTED else f"work/{wildcards.subject}/track/refinement.json"


def refinement_flag(wildcards, input):
    """Params function: what the refinement did, where there was one."""
    return argument("refinement", input.refinement)


PARSE_WEIGHTS = weights("parse")


def parse_inputs(wildcards):
    """Input function: images and weights for a network; for geometry all that is tracked."""
    folder, chunk = f"work/{wildcards.subject}", wildcards.chunk
    inputs = {"frames": f"{folder}/frames/{chunk}.zip"}
    network = PARSE_WEIGHTS(wildcards)
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
    """Params function: every named input as an argument."""
    return arguments(dict(input.items()))


LPIPS_FILES = ["assets/vgg16-397923af.pth", "assets/vgg.pth"]
LPIPS_WEIGHTS = LPIPS_FILES if all(Path(file).is_file() for file in LPIPS_FILES) else []


def lpips_weights(wildcards):
    """Optional input: the weights of LPIPS-VGG where they are, so that adding them reruns."""
    return LPIPS_WEIGHTS


def motion_row(wildcards):
    """The table's row of a motion and None; if the subject's head cannot play it, None and the input
    that makes the job fail."""
    try:
        return motions.motion_for(MOTIONS, wildcards.motion, row_of(wildcards.subject)["head"]), None
    except UserError as error:
        return None, REFUSALS.file(refusals.VIDEO, f"{wildcards.subject}.{wildcards.motion}", str(error))


def motion_file(column):
    """Input function: a file that the motion's row names, where it names one."""

    def file(wildcards):
        row, refusal = motion_row(wildcards)
        if row is None or not row[column]:
            return refusal or []
        made = row[column].startswith("work/")  # of a subject, perhaps by this run
        return row[column] if made else user_file(row[column], wildcards.subject)

    return file


def motion_flags(wildcards):
    """Params function: what the motion's row says about it; of the row alone, so that edits rerun."""
    row, _ = motion_row(wildcards)
    return arguments({name: (row or {}).get(name) for name in ("kind", "head_motion", "blinks", "audio")})


def own_environment(wildcards):
    """Conda function: none; what asks Snakemake or looks at its machine runs in its environment."""
    return None


def settings_flag(wildcards):
    """Params function: the whole configuration; a function, because its braces are no wildcards."""
    return argument("settings", json.dumps(config))


def ground_truth_flag(wildcards):
    """Params function: the built-in clip's ground_truth, which only the report may read."""
    builtin = row_of(wildcards.subject)["video"] == settings_module.BUILTIN_VIDEO
    return argument("ground_truth", BUILTIN_GROUND_TRUTH if builtin else None)


BUILTIN_CLIP = "work/builtin/demo.mp4"
BUILTIN_GROUND_TRUTH = "work/builtin/ground_truth.npz"
KERNELS = sorted(
    str(path.relative_to(workflow.basedir))
    for path in Path(workflow.basedir, "cuda_ext").glob("**/*")
    if path.suffix in (".cpp", ".cu", ".cuh", ".h", ".py")
)
