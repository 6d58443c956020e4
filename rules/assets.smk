# Rules that do not depend on a subject: assets, compiled operators, head models, the built-in clip.


localrules:
    assets_check,
    fetch_assets,


rule assets_check:
    """Configuration -> printed table of the assets that it uses, and their state."""
    log:
        "logs/assets/assets_check.log",
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        needs=needs_flags,
        code=code_version("assets_check"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/assets_check.py {params.needs:q} 2> {log:q}'


rule fetch_assets:
    """Configuration -> downloads of model files, and of required assets that have an address."""
    log:
        "logs/assets/fetch_assets.log",
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        needs=needs_flags,
        code=code_version("fetch_assets"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/fetch_assets.py {params.needs:q} 2> {log:q}'


rule build_cuda_ext:
    """Sources of the operators -> compiled library and its stamp, an input of every rule that loads it."""
    output:
        "work/cuda_ext/build.json",
    log:
        "logs/assets/build_cuda_ext.log",
    benchmark:
        "logs/assets/build_cuda_ext.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("build_cuda_ext", *KERNELS),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/build_cuda_ext.py --out={output:q} > {log:q} 2>&1'


rule build_head:
    """Source files of a head model -> head model .npz; the procedural head is built from code."""
    input:
        unpack(head_assets),
        ext="work/cuda_ext/build.json",
    output:
        "work/heads/{head}.npz",
    log:
        "logs/assets/build_head/{head}.log",
    benchmark:
        "logs/assets/build_head/{head}.tsv"
    wildcard_constraints:
        head="|".join(HEADS),
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        files=head_file_flags,
        code=head_code,
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/build_head.py --head={wildcards.head:q} {params.files:q} '
        "--out={output:q} > {log:q} 2>&1"


rule render_builtin:
    """Procedural head -> video of the built-in subject, and its ground truth for evaluation."""
    input:
        head="work/heads/procedural.npz",
        ext="work/cuda_ext/build.json",
    output:
        video=BUILTIN_CLIP,
        ground_truth=BUILTIN_GROUND_TRUTH,
    log:
        "logs/assets/render_builtin.log",
    benchmark:
        "logs/assets/render_builtin.tsv"
    conda:
        "../envs/assets.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        seconds=config["builtin"]["seconds"],
        size=config["builtin"]["size"],
        code=code_version("render_builtin"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/render_builtin.py --head={input.head:q} --seconds={params.seconds:q} '
        "--size={params.size:q} --video={output.video:q} --ground-truth={output.ground_truth:q} > {log:q} 2>&1"
