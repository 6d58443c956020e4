# Exports of frames and track to other tools' formats, on demand: `snakemake results/<subject>/export/vhap`.


rule export_vhap:
    """Track, frames, mattes and masks -> dataset in VHAP's layout, which GaussianAvatars trains on."""
    input:
        head=head_file,
        track="work/{subject}/track/track.npz",
        split="work/{subject}/split.json",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
    output:
        directory("results/{subject}/export/vhap"),
    log:
        "logs/{subject}/export_vhap.log",
    benchmark:
        "logs/{subject}/export_vhap.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_vhap"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_vhap.py --track={input.track:q} --head={input.head:q} '
        "--split={input.split:q} --frames {input.frames:q} --alpha {input.alpha:q} "
        "--parsing {input.parsing:q} --out={output:q} > {log:q} 2>&1"


rule export_imavatar:
    """Track, frames, mattes and masks -> IMavatar's data folder, also read by PointAvatar."""
    input:
        head=head_file,
        track="work/{subject}/track/track.npz",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
    output:
        directory("results/{subject}/export/imavatar"),
    log:
        "logs/{subject}/export_imavatar.log",
    benchmark:
        "logs/{subject}/export_imavatar.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_imavatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_imavatar.py --track={input.track:q} --head={input.head:q} '
        "--frames {input.frames:q} --alpha {input.alpha:q} --parsing {input.parsing:q} "
        "--out={output:q} > {log:q} 2>&1"


rule export_flame_parameters:
    """Track -> FLAME parameters per frame, as `.npz` files and tables."""
    input:
        head=head_file,
        track="work/{subject}/track/track.npz",
    output:
        directory("results/{subject}/export/flame"),
    log:
        "logs/{subject}/export_flame_parameters.log",
    benchmark:
        "logs/{subject}/export_flame_parameters.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_flame_parameters"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_flame_parameters.py --track={input.track:q} '
        "--head={input.head:q} --out={output:q} > {log:q} 2>&1"


rule export_arkit:
    """Track of head `ict` or `procedural` -> ARKit blendshapes, in Live Link Face's CSV format."""
    input:
        head=head_file,
        track="work/{subject}/track/track.npz",
    output:
        "results/{subject}/export/arkit.csv",
    log:
        "logs/{subject}/export_arkit.log",
    benchmark:
        "logs/{subject}/export_arkit.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("export_arkit"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_arkit.py --track={input.track:q} --head={input.head:q} '
        "--out={output:q} > {log:q} 2>&1"
