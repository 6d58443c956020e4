# Frame split, dataset export, training and avatar import.


rule split_frames:
    """Frame table -> split.json: training, held-out and guard frames."""
    input:
        "work/{subject}/frames.tsv",
    output:
        "work/{subject}/split.json",
    log:
        "logs/{subject}/split_frames.log",
    benchmark:
        "logs/{subject}/split_frames.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=options("split"),
        code=code_version("split_frames"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/split_frames.py --frames={input:q} {params.options:q} --out={output:q} > {log:q} 2>&1'


rule export_dataset:
    """Frames, mattes and masks -> dataset in FlashAvatar's folder layout."""
    input:
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
    output:
        directory("results/{subject}/dataset"),
    log:
        "logs/{subject}/export_dataset.log",
    benchmark:
        "logs/{subject}/export_dataset.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_dataset"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_dataset.py --frames {input.frames:q} --alpha {input.alpha:q} '
        "--parsing {input.parsing:q} --out={output:q} > {log:q} 2>&1"


rule train_avatar:
    """Head, track, split, frames, mattes and masks -> trained avatar: Gaussians and deformation model."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        split="work/{subject}/split.json",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
        weights=lpips_weights,
        checkpoint=row_file("checkpoint"),
    output:
        directory("results/{subject}/avatar/model"),
    log:
        "logs/{subject}/train_avatar.log",
    benchmark:
        "logs/{subject}/train_avatar.tsv"
    wildcard_constraints:
        subject=TRAINED,
    conda:
        "../envs/trainer.yaml"
    threads: 8
    resources:
        gpu=1,
        gpu_percent=gpu_percent,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=options("train"),
        checkpoint=checkpoint_flag,
        scratch="scratch/{subject}/train_avatar",
        code=code_version("train_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/train_avatar.py --head={input.head:q} --track={input.track:q} '
        "--split={input.split:q} --frames {input.frames:q} --alpha {input.alpha:q} --parsing {input.parsing:q} "
        "{params.options:q} {params.checkpoint:q} --gpu-percent={resources.gpu_percent:q} "
        "--scratch={params.scratch:q} --out={output:q} > {log:q} 2>&1"


rule import_avatar:
    """FlashAvatar checkpoint and track -> avatar, without training."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        checkpoint=row_file("avatar"),
    output:
        directory("results/{subject}/avatar/model"),
    log:
        "logs/{subject}/import_avatar.log",
    benchmark:
        "logs/{subject}/import_avatar.tsv"
    wildcard_constraints:
        subject=NOT_TRAINED,
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        uv_size=option("train", "uv_size"),
        code=code_version("import_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/import_avatar.py --head={input.head:q} --track={input.track:q} '
        "--checkpoint={input.checkpoint:q} --uv-size={params.uv_size:q} --out={output:q} > {log:q} 2>&1"


rule track_on_avatar:
    """Avatar, track, frames, mattes and masks -> the track that makes the avatar's renders fit best."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        avatar="results/{subject}/avatar/model",
        track="work/{subject}/track/track.npz",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
    output:
        "work/{subject}/track/avatar_track.npz",
    log:
        "logs/{subject}/track_on_avatar.log",
    benchmark:
        "logs/{subject}/track_on_avatar.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        scratch="scratch/{subject}/track_on_avatar",
        code=code_version("track_on_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/track_on_avatar.py --avatar={input.avatar:q} --head={input.head:q} '
        "--track={input.track:q} --frames {input.frames:q} --alpha {input.alpha:q} --parsing {input.parsing:q} "
        "--scratch={params.scratch:q} --out={output:q} > {log:q} 2>&1"
