# What does not depend on a subject: foreign files, the compiled operators, the head models, the
# built-in clip.


localrules:
    assets_check,
    fetch_assets,


rule assets_check:
    """The files this configuration needs that do not come with headsplat, and their state."""
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
        "exec python workflow_scripts/assets_check.py {params.needs:q} 2> {log:q}"


rule fetch_assets:
    """Fetch what is needed and missing, where it has an address."""
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
        "exec python workflow_scripts/fetch_assets.py {params.needs:q} 2> {log:q}"


rule build_cuda_ext:
    """Compile the rasterizers once; every user takes the stamp, so jobs never compile at once."""
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
        "exec python workflow_scripts/build_cuda_ext.py --out={output:q} > {log:q} 2>&1"


rule build_procedural_head:
    """The head model of the project's own making; needs no download."""
    input:
        "work/cuda_ext/build.json",
    output:
        "work/heads/procedural.npz",
    log:
        "logs/assets/build_procedural_head.log",
    benchmark:
        "logs/assets/build_procedural_head.tsv"
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("build_procedural_head"),
    shell:
        "exec python workflow_scripts/build_procedural_head.py --out={output:q} > {log:q} 2>&1"


rule import_ict_head:
    """ICT-FaceKit (folder, zip or tar) as a head model."""
    input:
        source=asset("ict"),
        ext="work/cuda_ext/build.json",
    output:
        "work/heads/ict.npz",
    log:
        "logs/assets/import_ict_head.log",
    benchmark:
        "logs/assets/import_ict_head.tsv"
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("import_ict_head"),
    shell:
        "exec python workflow_scripts/import_ict_head.py --source={input.source:q} --out={output:q} > {log:q} 2>&1"


rule import_flame_head:
    """The user's own FLAME model and its public side files as a head model, without chumpy."""
    input:
        model=asset("flame_model"),
        mesh=asset("flame_mesh"),
        masks=asset("flame_masks"),
        landmarks=asset("flame_landmarks"),
        mediapipe=asset("flame_mediapipe"),
        eyelids=asset("flame_eyelids"),
    output:
        "work/heads/flame.npz",
    log:
        "logs/assets/import_flame_head.log",
    benchmark:
        "logs/assets/import_flame_head.tsv"
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("import_flame_head"),
    shell:
        "exec python workflow_scripts/import_flame_head.py --model={input.model:q} --mesh={input.mesh:q} "
        "--masks={input.masks:q} --landmarks={input.landmarks:q} --mediapipe={input.mediapipe:q} "
        "--eyelids={input.eyelids:q} --out={output:q} > {log:q} 2>&1"


rule render_builtin:
    """The built-in subject as a video like any other; its ground_truth is written aside."""
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
        "exec python workflow_scripts/render_builtin.py --head={input.head:q} --seconds={params.seconds:q} "
        "--size={params.size:q} --video={output.video:q} --ground_truth={output.ground_truth:q} > {log:q} 2>&1"
