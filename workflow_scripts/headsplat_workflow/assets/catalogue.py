"""Third-party files that a run may need: names, licences, addresses and published hashes.

Hashes are listed only for files published under a fixed name. For others, the hash of the first
file used is recorded (`assets.verify.HashRecord`).
"""

from dataclasses import dataclass, field

_FLAME_LICENCE = "FLAME licence, research use, own account"
_FLAME_SITE = "https://flame.is.tue.mpg.de"
_FLAME_FILE = "https://download.is.tue.mpg.de/download.php?domain=flame&resume=1&sfile="
_DIFFPOSETALK = "https://github.com/DiffPoseTalk/DiffPoseTalk"
_RVM = "https://github.com/PeterL1n/RobustVideoMatting"
_RVM_FILES = f"{_RVM}/releases/download/v1.0.0/"


@dataclass(frozen=True)
class Asset:
    """One third-party file or folder that a configuration may need.

    Attributes:
        what: description for messages.
        names: accepted file names, the preferred one first.
        licence: of the file.
        page: web page where a person finds it.
        urls: name -> direct address, for files that can be downloaded without a person.
        hashes: name -> SHA-256 of the published file, or a prefix of it.
        sizes: name -> bytes of the published file, where known.
        archives: names of the site's zips that may contain one of `names`.
        account: whether the address needs the user's own FLAME account.
    """

    what: str
    names: tuple[str, ...]
    licence: str
    page: str
    urls: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    archives: tuple[str, ...] = ()
    account: bool = False


CATALOGUE: dict[str, Asset] = {
    "ict": Asset(
        "ICT-FaceKit's head model (FaceXModel: folder, zip or tar)",
        ("ICT-FaceKit.tar.xz", "ICT-FaceKit.tar.gz", "ICT-FaceKit.zip", "ICT-FaceKit-master.zip",
         "ICT-FaceKit", "FaceXModel"),
        "MIT",
        "https://github.com/ICT-VGL/ICT-FaceKit",
        urls={
            "ICT-FaceKit.zip":
                "https://github.com/ICT-VGL/ICT-FaceKit/archive/refs/heads/master.zip"
        },
    ),
    "flame_model": Asset(
        "FLAME's generic model, 2020 or 2023",
        ("generic_model.pkl", "flame2023.pkl", "flame2023_no_jaw.pkl"),
        _FLAME_LICENCE,
        f"{_FLAME_SITE}/download.php",
        urls={"FLAME2020.zip": f"{_FLAME_FILE}FLAME2020.zip"},
        archives=("FLAME2020.zip", "FLAME2023.zip"),
        account=True,
    ),
    "flame_mesh": Asset(
        "FlashAvatar's FLAME mesh with UV and a closed mouth",
        ("FlameMesh.obj",),
        _FLAME_LICENCE,
        "https://github.com/USTC3DV/FlashAvatar-code/tree/main/flame",
    ),
    "flame_masks": Asset(
        "FLAME's vertex masks",
        ("FLAME_masks.pkl",),
        _FLAME_LICENCE,
        f"{_FLAME_SITE}/download.php",
        urls={"FLAME_masks.zip": "https://files.is.tue.mpg.de/tbolkart/FLAME/FLAME_masks.zip"},
        archives=("FLAME_masks.zip",),
    ),
    "flame_landmarks": Asset(
        "FLAME's 68 landmarks, static and of the contour",
        ("landmark_embedding.npy",),
        _FLAME_LICENCE,
        "https://github.com/Zielon/MICA/tree/master/data/FLAME2020",
    ),
    "flame_mediapipe": Asset(
        "MediaPipe's 105 landmarks on FLAME",
        ("mediapipe_landmark_embedding.npz",),
        _FLAME_LICENCE,
        f"{_FLAME_SITE}/download.php",
        archives=("mediapipe_landmark_embedding.zip",),
    ),
    "flame_eyelids": Asset(
        "metrical-tracker's eyelid shapes: a folder with l_eyelid.npy and r_eyelid.npy",
        ("blendshapes",),
        _FLAME_LICENCE,
        "https://github.com/Zielon/metrical-tracker/tree/master/flame/blendshapes",
    ),
    "rvm": Asset(
        "Robust Video Matting",
        ("rvm_mobilenetv3_fp32.onnx", "rvm_mobilenetv3_fp16.onnx", "rvm_mobilenetv3.pth",
         "rvm_resnet50_fp32.onnx", "rvm_resnet50_fp16.onnx", "rvm_resnet50.pth"),
        "GPL-3.0",
        _RVM,
        urls={
            name: _RVM_FILES + name
            for name in ("rvm_mobilenetv3_fp32.onnx", "rvm_mobilenetv3_fp16.onnx",
                         "rvm_mobilenetv3.pth", "rvm_resnet50_fp32.onnx",
                         "rvm_resnet50_fp16.onnx", "rvm_resnet50.pth")
        },
        hashes={
            "rvm_mobilenetv3_fp32.onnx":
                "88d4531297118f595bf2fd60f6f566aec2e559393802d1f436c380f0cbbd2828"
        },
    ),
    "bisenet": Asset(
        "BiSeNet face parsing, 19 classes",
        ("79999_iter.pth", "parsing_bisenet.pth", "face-parsing-bisenet.pth", "79999_iter.onnx",
         "face-parsing-bisenet.onnx", "face_parsing.onnx"),
        "MIT; trained on CelebAMask-HQ, non-commercial",
        "https://github.com/zllrunning/face-parsing.PyTorch",
        urls={
            "79999_iter.pth":
                "https://github.com/xinntao/facexlib/releases/download/v0.2.0/parsing_bisenet.pth"
        },
        hashes={
            name: "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567"
            for name in ("79999_iter.pth", "parsing_bisenet.pth", "face-parsing-bisenet.pth")
        },
    ),
    "mica": Asset(
        "MICA's identity networks",
        ("mica.tar",),
        "MICA licence, research use; embeds FLAME",
        "https://github.com/Zielon/MICA",
        urls={"mica.tar": "https://keeper.mpdl.mpg.de/f/db172dc4bd4f4c0f96de/?dl=1"},
    ),
    "diffposetalk": Asset(
        "DiffPoseTalk's networks, with or without head rotation",
        ("diffposetalk.pt", "iter_0110000.pt", "iter_0100000.pt"),
        "none stated, research use",
        _DIFFPOSETALK,
    ),
    "diffposetalk_stats": Asset(
        "DiffPoseTalk's statistics of codes, by the data set's request form",
        ("stats_train.npz",),
        "CC-BY-SA, as the data set",
        _DIFFPOSETALK,
    ),
    "diffposetalk_style": Asset(
        "DiffPoseTalk's style encoder, or a style",
        ("diffposetalk_style.pt", "iter_0026000.pt", "iter_0034000.pt",
         "diffposetalk_style.npy"),
        "none stated, research use",
        _DIFFPOSETALK,
    ),
    "audio2face": Asset(
        "an actor of Audio2Face-3D 2.3, such as Mark: the whole folder",
        ("Audio2Face-3D-v2.3-Mark", "Audio2Face-3D-v2.3.1-Claire", "Audio2Face-3D-v2.3.1-James",
         "audio2face"),
        "NVIDIA Open Model License",
        "https://huggingface.co/nvidia/Audio2Face-3D-v2.3-Mark",
    ),
    "lam": Asset(
        "LAM-A2E's network, unpacked",
        ("lam_audio2exp_streaming.tar",),
        "Apache-2.0",
        "https://github.com/aigc3d/LAM_Audio2Expression",
    ),
    "lpips_backbone": Asset(
        "torchvision's VGG16, for LPIPS",
        ("vgg16-397923af.pth",),
        "BSD-3-Clause; ImageNet",
        "https://pytorch.org/vision/stable/models/vgg.html",
        urls={"vgg16-397923af.pth": "https://download.pytorch.org/models/vgg16-397923af.pth"},
        hashes={"vgg16-397923af.pth": "397923af"},
    ),
    "lpips_linear": Asset(
        "LPIPS's linear layers",
        ("vgg.pth",),
        "BSD-2-Clause",
        "https://github.com/richzhang/PerceptualSimilarity",
        urls={
            "vgg.pth": "https://github.com/richzhang/PerceptualSimilarity/raw/master/"
            "lpips/weights/v0.1/vgg.pth"
        },
    ),
}  # fmt: skip
