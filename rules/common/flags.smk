# Params functions return arguments of a job's command; resources functions return memory, minutes,
# disk and GPUs. Resources are not params, so a changed resource reruns nothing.
import json
from functools import cache


def options(section):
    """Params function: a section's options as arguments; only their values rerun a rule."""
    of_preset = cache(lambda preset: arguments(PRESETS[preset][section]))
    return lambda wildcards: of_preset(subject_of(wildcards.subject).preset)


def option(section, key):
    """Params function: one option's value."""
    return lambda wildcards: settings(wildcards.subject, section)[key]


def chosen_options(section, *keys):
    """Params function: some options of a section as arguments; only their values rerun a rule."""
    return lambda wildcards: arguments({key: settings(wildcards.subject, section)[key] for key in keys})


def needs_flags(wildcards):
    """Params function: every asset that the configuration can use. A function, because Snakemake
    would read braces in a constant as wildcards."""
    return as_flags(ASSETS.all())


def settings_flag(wildcards):
    """Params function: the whole configuration as JSON; a function for the same reason."""
    return argument("settings", json.dumps(config))


def refusal_line(wildcards):
    """Params function: the error line of an unusable row."""
    return REFUSALS[wildcards.refused]


def video_content(wildcards):
    """Params function: fingerprint of the subject's video; "" for the built-in one."""
    video = source_video(wildcards)
    return "" if video == BUILTIN_CLIP else content_of(video)


def sound_flag(wildcards, input):
    """Params function: the video that provides the sound, if there is one."""
    return argument("video", input.video)


def head_file_flags(wildcards, input):
    """Params function: the source files of a head model, in the builder's order."""
    return [f"--file={key}={input.get(key)}" for key in HEADS[wildcards.head].assets]


def head_code(wildcards):
    """Params function: code version of the head model's builder."""
    return code_version("build_head", modules=(HEADS[wildcards.head].module,))


def network_flag(section):
    """Params function: the network that runs a stage, if its weights are among the inputs."""
    of = cache(lambda subject: ASSETS.network(subject, section)[0])
    return lambda wildcards, input: argument("model", of(wildcards.subject) if input.get("weights") else None)


def weights_flag(wildcards, input):
    """Params function: the weights among the inputs, if any."""
    return argument("weights", input.weights)


def import_flags(wildcards):
    """Params function: the import columns of the subject's row."""
    subject = subject_of(wildcards.subject)
    flags = {"kind": subject.kind, "folder": subject.folder, "images": subject.video}
    flags |= {"frame_delta": subject.frame_delta, "flame_version": subject.flame_version}
    return arguments(flags)


def intrinsics_flag(wildcards):
    """Params function: the intrinsics of the subject's row. Must not depend on inputs, or an edited
    row would rerun nothing."""
    return argument("intrinsics", subject_of(wildcards.subject).intrinsics)


def identity_flag(wildcards, input):
    """Params function: the identity code among the inputs, if there is one."""
    return argument("identity", input.identity)


def refine_flags(wildcards, input):
    """Params function: images and mattes, if the track is refined or completed from them."""
    return ["--frames", *input.frames, "--alpha", *input.alpha] if input.get("frames") else []


def refinement_flag(wildcards, input):
    """Params function: the report of the refinement, if there was one."""
    return argument("refinement", input.refinement)


def checkpoint_flag(wildcards, input):
    """Params function: the checkpoint that training continues from, if there is one."""
    return argument("checkpoint", input.checkpoint)


def input_flags(wildcards, input):
    """Params function: every named input as an argument."""
    return arguments(dict(input.items()))


def motion_flags(wildcards):
    """Params function: the columns of the motion's row. Depends on the row alone, so that edits rerun."""
    motion, _ = motion_of(wildcards)
    return arguments(motion.flags() if motion else {})


def page_motion_flags(wildcards, input):
    """Params function: the motions of the subject's web page, as words `key=value` after `--motion`."""
    files, sounds, words = iter(input.motions), iter(input.sounds), []
    for played in page_motions(wildcards.subject):
        motion, _ = motion_of(played)
        flags = motion.flags() if motion else {}
        given = {"name": played.motion, "file": next(files)} | flags
        given["audio"] = next(sounds) if flags.get("audio") else ""
        words += ["--motion", *(f"{key}={value}" for key, value in given.items() if value)]
    return words


def page_flags(wildcards):
    """Params function: options of the subject's web page; its motions are words of their own."""
    chosen = {key: value for key, value in settings(wildcards.subject, "web").items() if key != "motions"}
    shared = settings(wildcards.subject, "export")["pass_on_head"]
    return arguments(chosen | {"pass_on_head": shared})


def played_flags(wildcards, input):
    """Params function: the motion's file and the columns of its row, without its sound."""
    motion, _ = motion_of(wildcards)
    flags = motion.flags() if motion else {}
    return [*argument("motion", input.motion), *arguments({k: v for k, v in flags.items() if k != "audio"})]


def look_flags(wildcards):
    """Params function: what the video shows besides the head. Depends on the motion's row and the preset."""
    look, _ = look_of(wildcards)
    return arguments(vars(look) if look else {})


def clip_flags(wildcards, input):
    """Params function: the files of the subject's clip among the inputs."""
    zips = {name: input.get(name) for name in ("frames", "alpha", "parsing") if input.get(name)}
    lists = [word for name, files in zips.items() for word in (f"--{name}", *files)]
    return [*argument("plate", input.get("plate")), *lists]


def voice_flags(wildcards):
    """Params function: the motion's voice, its options, and the columns that it applies. Depends on the
    row, the preset, and the assets that are there."""
    motion, _ = motion_of(wildcards)
    voice, _, _ = voice_of(wildcards)
    return arguments(motion.voice_flags(voice, settings(wildcards.subject, "speech")) if voice else {})


def voice_file_flags(wildcards, input):
    """Params function: the files that the motion's voice needs, by name."""
    _, files, _ = voice_of(wildcards)
    given = [f"--file={name}={input.get(name)}" for name in files if input.get(name)]
    return [*given, *argument("transcript", input.transcript)]


def ground_truth_flag(wildcards):
    """Params function: the built-in clip's ground truth, which only the report may read."""
    builtin = subject_of(wildcards.subject).builtin
    return argument("ground_truth", BUILTIN_GROUND_TRUTH if builtin else None)


def own_environment(wildcards):
    """Conda function: none, for rules that need Snakemake itself or check its own environment."""
    return None


def job_frames(wildcards):
    """Number of frames of a job: of its chunk, of its subject, or of the built-in clip."""
    if "subject" not in wildcards.keys():
        return config["builtin"]["seconds"] * 25
    frames = CLIP_FRAMES.of(wildcards.subject)
    return frames / chunk_count(wildcards) if "chunk" in wildcards.keys() else frames


def memory_mb(wildcards, attempt, rulename):
    """Resources function: memory in MB."""
    return requests.memory_mb(rulename, job_frames(wildcards), attempt)


def run_minutes(wildcards, attempt, rulename):
    """Resources function: time limit for batch systems, in minutes."""
    return requests.minutes(rulename, job_frames(wildcards), attempt)


def disk_mb(wildcards, rulename):
    """Resources function: disk space in MB."""
    return requests.disk_mb(rulename, job_frames(wildcards))


def gpu_percent(wildcards, attempt):
    """Resources function: percent of GPU memory for training images; less after running out."""
    return requests.gpu_percent(attempt)


def voice_gpus(wildcards):
    """Resources function: one GPU for a network that speaks, else none."""
    voice, _, _ = voice_of(wildcards)
    return int(bool(voice and VOICES[voice].assets))


def refine_gpus(wildcards):
    """Resources function: one GPU if the track is refined photometrically, else none."""
    return int(refined(wildcards))
