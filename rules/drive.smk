# Drive a trained avatar with a motion of config/motions.tsv, on demand:
# `snakemake results/<subject>/driven/<motion>.mp4`; with alpha `.mov`, `.webm` or `.png.zip`.


rule clean_plate:
    """Frames, mattes -> the clip's background without the person, for a camera that stands still."""
    input:
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
    output:
        "work/{subject}/clean_plate.png",
    log:
        "logs/{subject}/clean_plate.log",
    benchmark:
        "logs/{subject}/clean_plate.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("clean_plate"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/clean_plate.py --frames {input.frames:q} --alpha {input.alpha:q} '
        "--out={output:q} > {log:q} 2>&1"


rule drive_avatar:
    """Avatar and motion (speech, a track, DiffPoseTalk codes or ARKit coefficients) -> driven video."""
    input:
        unpack(look_files),
        head=head_file,
        ext="work/cuda_ext/build.json",
        avatar="results/{subject}/avatar/model",
        track="work/{subject}/track/track.npz",
        motion=driving_file,
        audio=motion_file("audio"),
    output:
        "results/{subject}/driven/{motion}.mp4",
    log:
        "logs/{subject}/drive_avatar/{motion}.log",
    benchmark:
        "logs/{subject}/drive_avatar/{motion}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
    conda:
        "../envs/trainer.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        motion=motion_flags,
        look=look_flags,
        clip=clip_flags,
        scratch="scratch/{subject}/drive_avatar/{motion}",
        code=code_version("drive_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/drive_avatar.py --avatar={input.avatar:q} --head={input.head:q} '
        "--track={input.track:q} --motion={input.motion:q} {params.motion:q} {params.look:q} {params.clip:q} "
        "--scratch={params.scratch:q} --out={output:q} > {log:q} 2>&1"


use rule drive_avatar as drive_with_alpha with:
    output:
        "results/{subject}/driven/{motion}.{format}",
    log:
        "logs/{subject}/drive_with_alpha/{motion}/{format}.log",
    benchmark:
        "logs/{subject}/drive_with_alpha/{motion}/{format}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
        format=ALPHA_FORMATS,
    params:
        motion=motion_flags,
        look=look_flags,
        clip=clip_flags,
        scratch="scratch/{subject}/drive_with_alpha/{motion}/{format}",
        code=code_version("drive_avatar"),
