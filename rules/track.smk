# Head tracking: landmark solve, photometric refinement, `.frame` export, overlay video.


rule track_head:
    """Landmarks -> track: identity, focal length, and per frame pose, expression, jaw, eyes and lids."""
    input:
        head=head_file,
        landmarks="work/{subject}/landmarks.npz",
        crop="work/{subject}/crop.json",
        frames="work/{subject}/frames.tsv",
        identity=identity_code,
    output:
        track="work/{subject}/track/landmark_track.npz",
        identity="work/{subject}/track/landmark_identity.npy",
    log:
        "logs/{subject}/track_head.log",
    benchmark:
        "logs/{subject}/track_head.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 4
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        camera=intrinsics_flag,
        identity=identity_flag,
        scratch="scratch/{subject}/track_head",
        code=code_version("track_head"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/track_head.py --head={input.head:q} --landmarks={input.landmarks:q} '
        "--crop={input.crop:q} --frames={input.frames:q} {params.camera:q} {params.identity:q} "
        "--scratch={params.scratch:q} --out={output.track:q} --identity-out={output.identity:q} > {log:q} 2>&1"


rule refine_track:
    """Landmark track, frames and mattes -> final track with the trunk, refined if that is better."""
    input:
        unpack(refine_inputs),
        head=head_file,
        track="work/{subject}/track/landmark_track.npz",
        landmarks="work/{subject}/landmarks.npz",
        crop="work/{subject}/crop.json",
        frames_table="work/{subject}/frames.tsv",
        identity=identity_code,
    output:
        track="work/{subject}/track/track.npz",
        identity="work/{subject}/identity.npy",
        verdict="work/{subject}/track/refinement.json",
    log:
        "logs/{subject}/refine_track.log",
    benchmark:
        "logs/{subject}/refine_track.tsv"
    wildcard_constraints:
        subject=FROM_VIDEO,
    conda:
        "../envs/tracker.yaml"
    threads: 4
    resources:
        gpu=refine_gpus,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        photometric=option("track", "photometric"),
        trunk=option("track", "trunk"),
        identity=identity_flag,
        images=refine_flags,
        scratch="scratch/{subject}/refine_track",
        code=code_version("refine_track"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/refine_track.py --head={input.head:q} --track={input.track:q} '
        "--landmarks={input.landmarks:q} --crop={input.crop:q} --frames-table={input.frames_table:q} "
        "{params.images:q} {params.identity:q} --photometric={params.photometric:q} --trunk={params.trunk:q} --scratch={params.scratch:q} "
        "--out={output.track:q} --identity-out={output.identity:q} --refinement-out={output.verdict:q} > {log:q} 2>&1"


rule export_frames:
    """Track -> one `.frame` per image, as metrical-tracker writes and FlashAvatar reads them."""
    input:
        "work/{subject}/track/track.npz",
    output:
        directory("results/{subject}/checkpoint"),
    log:
        "logs/{subject}/export_frames.log",
    benchmark:
        "logs/{subject}/export_frames.tsv"
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_frames"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_frames.py --track={input:q} --out={output:q} > {log:q} 2>&1'


rule overlay_track:
    """Track and frames -> video of the tracked mesh and landmarks over the frames."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        landmarks="work/{subject}/landmarks.npz",
        crop="work/{subject}/crop.json",
        frames=chunks(("frames", "zip")),
    output:
        "work/{subject}/track/overlay.mp4",
    log:
        "logs/{subject}/overlay_track.log",
    benchmark:
        "logs/{subject}/overlay_track.tsv"
    conda:
        "../envs/tracker.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        scratch="scratch/{subject}/overlay_track",
        code=code_version("overlay_track"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/overlay_track.py --head={input.head:q} --track={input.track:q} '
        "--landmarks={input.landmarks:q} --crop={input.crop:q} --frames {input.frames:q} "
        "--scratch={params.scratch:q} --out={output:q} > {log:q} 2>&1"
