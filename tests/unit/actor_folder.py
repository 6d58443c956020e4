"""A tiny Audio2Face actor in the official layout: ONNX graph, npz and json."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headsplat.speech.lam import NAMES

VERTICES, SKIN, TONGUE, JAW, EYES = 60, 5, 3, 15, 4
BUFFER, OFFSET, HIDDEN = 320, 160, 4
EMOTIONS = ["amazement", "joy"]
POSES = [name[0].lower() + name[1:] for name in NAMES]


def write_network(path: Path, coefficient=(0.0,) * SKIN, gain=0.0, buffer=BUFFER, name="result"):
    """A graph whose skin coefficients are constants plus `gain` times the window's middle sample
    in coefficient 0, and the emotions' sum in the last number of the result."""
    width = SKIN + TONGUE + JAW + EYES
    heard = np.zeros((buffer, width), np.float32)
    heard[min(OFFSET, buffer - 1), 0] = gain
    felt = np.zeros((HIDDEN + len(EMOTIONS), width), np.float32)
    felt[:, -1] = 1
    felt[-1, 1] = 1
    bias = np.zeros(width, np.float32)
    bias[:SKIN] = coefficient
    nodes = [
        helper.make_node("MatMul", ["input", "heard"], ["a"]),
        helper.make_node("MatMul", ["emotion", "felt"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Add", ["c", "bias"], [name]),
    ]
    values = [
        numpy_helper.from_array(v, n) for v, n in ((heard, "heard"), (felt, "felt"), (bias, "bias"))
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "actor",
        [helper.make_tensor_value_info("input", kind, ["batch", 1, buffer]),
         helper.make_tensor_value_info("emotion", kind, ["batch", 1, HIDDEN + len(EMOTIONS)])],
        [helper.make_tensor_value_info(name, kind, ["batch", 1, width])],
        values,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def tables() -> dict[str, dict]:
    """Contents of the json files."""
    count = len(POSES)
    return {
        "network_info.json": {
            "id": {"type": "regression", "output": "geometry", "actor": "tiny"},
            "params": {
                "implicit_emo_len": HIDDEN, "explicit_emotions": EMOTIONS,
                "default_emotion": [0.0, 0.0], "num_shapes_skin": SKIN, "num_shapes_tongue": TONGUE,
                "num_verts_skin": VERTICES, "result_jaw_size": JAW, "result_eyes_size": EYES,
            },
            "audio_params": {"buffer_len": BUFFER, "buffer_ofs": OFFSET, "samplerate": 16000},
        },
        "model_config.json": {
            "config": {
                "input_strength": 1.3, "upper_face_smoothing": 0.0, "lower_face_smoothing": 0.0,
                "upper_face_strength": 1.0, "lower_face_strength": 1.0, "face_mask_level": 0.6,
                "face_mask_softness": 0.0085, "skin_strength": 1.0, "eyelid_open_offset": 0.0,
                "lip_open_offset": 0.0, "blink_strength": 1.0, "source_shot": "calm",
                "source_frame": 1,
            }
        },
        "bs_skin_config.json": {
            "blendshape_params": {
                "strengthL1regularization": 0.0, "strengthL2regularization": 0.0,
                "strengthTemporalSmoothing": 0.0, "strengthSymmetry": 0.0, "numPoses": count,
                "bsSolveActivePoses": [1] * count, "bsSolveCancelPoses": [-1] * count,
                "bsSolveSymmetryPoses": [-1] * count, "bsWeightMultipliers": [1.0] * count,
                "bsWeightOffsets": [0.0] * count, "templateBBSize": 54.7,
            }
        },
    }  # fmt: skip


def arrays(seed: int = 0) -> dict[str, dict]:
    """Contents of the npz files. Coefficient k moves the skin by the delta of pose 24 + k."""
    rng = np.random.default_rng(seed)
    neutral = rng.normal(size=(VERTICES, 3)).astype(np.float32) * 10
    deltas = rng.normal(size=(len(POSES), VERTICES, 3)).astype(np.float32)
    zero = np.zeros((VERTICES, 3), np.float32)
    first = POSES.index("jawOpen")
    mask = np.arange(2, VERTICES, dtype=np.int32)
    return {
        "model_data.npz": {
            "shapes_matrix_skin": deltas[first : first + SKIN], "shapes_mean_skin": neutral,
            "lip_open_pose_delta": zero, "eye_close_pose_delta": zero,
            "neutral_jaw": np.zeros((5, 3), np.float32),
        },
        "implicit_emo_db.npz": {
            "emo_spec_names": np.array([b"loud", b"calm"]),
            "emo_spec_start": np.array([0, 3], np.int32),
            "emo_db": np.arange(24, dtype=np.float32).reshape(6, HIDDEN),
        },
        "bs_skin.npz": {
            "poseNames": np.array(["neutral", *POSES]).astype("S"), "neutral": neutral,
            "frontalMask": mask, "rig_version": np.array("1"),
            **dict(zip(POSES, deltas, strict=True)),
        },
    }  # fmt: skip


def write_actor(folder: Path, change=None, **network) -> Path:
    """Write the folder; `change` takes all contents by file name."""
    folder.mkdir(exist_ok=True)
    contents = tables() | arrays()
    if change:
        change(contents)
    for name, content in contents.items():
        if name.endswith(".json"):
            (folder / name).write_text(json.dumps(content))
        else:
            np.savez(folder / name, **content)
    write_network(folder / "network.onnx", **network)
    return folder
