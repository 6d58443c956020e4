# Exports of the avatar as files of other tools, on demand: `snakemake results/<subject>/export/mesh.glb`.


rule export_ply:
    """Avatar -> 3D Gaussian Splatting point cloud, `neutral` or in the pose of one frame."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
    output:
        "results/{subject}/export/ply/{pose}.ply",
    log:
        "logs/{subject}/export_ply/{pose}.log",
    benchmark:
        "logs/{subject}/export_ply/{pose}.tsv"
    wildcard_constraints:
        pose=r"neutral|\d+",
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=chosen_options("export", "ply_axes", "ply_degree"),
        code=code_version("export_ply"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_ply.py --model={input.model:q} --head={input.head:q} '
        "--track={input.track:q} --pose={wildcards.pose:q} {params.options:q} --out={output:q} > {log:q} 2>&1"


use rule export_ply as export_spz with:
    output:
        "results/{subject}/export/spz/{pose}.spz",
    log:
        "logs/{subject}/export_spz/{pose}.log",
    benchmark:
        "logs/{subject}/export_spz/{pose}.tsv"
    params:
        options=chosen_options("export", "spz_version"),
        code=code_version("export_ply"),


use rule export_ply as export_gaussians with:
    output:
        "results/{subject}/export/gaussians/{pose}.glb",
    log:
        "logs/{subject}/export_gaussians/{pose}.log",
    benchmark:
        "logs/{subject}/export_gaussians/{pose}.tsv"
    params:
        options=[],
        code=code_version("export_ply"),


rule export_sequence:
    """Avatar and its track -> one .ply per frame, in a zip."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
    output:
        "results/{subject}/export/sequence.zip",
    log:
        "logs/{subject}/export_sequence.log",
    benchmark:
        "logs/{subject}/export_sequence.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        motion=[],
        options=chosen_options("export", "ply_axes", "ply_degree"),
        code=code_version("export_sequence"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_sequence.py --model={input.model:q} --head={input.head:q} '
        "--track={input.track:q} {params.motion:q} {params.options:q} --out={output:q} > {log:q} 2>&1"


use rule export_sequence as export_motion_sequence with:
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
        motion=driving_file,
    output:
        "results/{subject}/export/sequence/{motion}.zip",
    log:
        "logs/{subject}/export_motion_sequence/{motion}.log",
    benchmark:
        "logs/{subject}/export_motion_sequence/{motion}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
    params:
        motion=played_flags,
        options=chosen_options("export", "ply_axes", "ply_degree"),
        code=code_version("export_sequence"),


rule export_mesh:
    """Avatar and its track -> the head as a textured mesh with morph targets, joints and animation."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
    output:
        "results/{subject}/export/mesh.glb",
    log:
        "logs/{subject}/export_mesh.log",
    benchmark:
        "logs/{subject}/export_mesh.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        motion=[],
        options=chosen_options("export", "texture", "pass_on_head"),
        code=code_version("export_mesh"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_mesh.py --model={input.model:q} --head={input.head:q} '
        "--track={input.track:q} {params.motion:q} {params.options:q} --out={output:q} > {log:q} 2>&1"


use rule export_mesh as export_motion_mesh with:
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
        motion=driving_file,
    output:
        "results/{subject}/export/mesh/{motion}.glb",
    log:
        "logs/{subject}/export_motion_mesh/{motion}.log",
    benchmark:
        "logs/{subject}/export_motion_mesh/{motion}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
    params:
        motion=played_flags,
        options=chosen_options("export", "texture", "pass_on_head"),
        code=code_version("export_mesh"),


rule export_lam:
    """Avatar -> zip for LAM's web renderer and OpenAvatarChat."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
    output:
        "results/{subject}/export/lam/{subject}.zip",
    log:
        "logs/{subject}/export_lam.log",
    benchmark:
        "logs/{subject}/export_lam.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        options=chosen_options("export", "pass_on_head"),
        code=code_version("export_lam"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_lam.py --model={input.model:q} --head={input.head:q} '
        "--track={input.track:q} {params.options:q} --out={output:q} > {log:q} 2>&1"
