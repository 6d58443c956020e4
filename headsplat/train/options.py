"""The numbers a user may set about training."""

from dataclasses import dataclass

from headsplat.runtime.errors import UserError

MODEL_NAMES = ("blendshapes", "flashavatar")
HELP = {
    "model": "deformation model: blendshapes or flashavatar",
    "steps": "optimizer steps",
    "batch": "images per step",
    "gaussians": "how many Gaussians blendshapes has (flashavatar: one per UV texel)",
    "uv_size": "texels per side of the UV map, for flashavatar",
    "bases": "learned bases of blendshapes",
    "mouth": "weight of the mouth relative to the rest",
    "ssim": "weight of 1 - SSIM, 0 for none",
    "lpips": "weight of LPIPS-VGG where its weight files are found, 0 for none; on crops of half "
    "the side, at full resolution",
    "coarse": "share of the steps at half resolution",
    "jitter": "noise on the codes of blendshapes in training, in their standard deviations",
    "seed": "of everything random",
    "profile": "steps to profile into trace.json.gz, for the report; 0 for none",
}
_RANGES = {
    "steps": (1, 10**7), "batch": (1, 256), "gaussians": (100, 10**6), "uv_size": (16, 1024),
    "bases": (1, 200), "mouth": (0, 1000), "ssim": (0, 10), "lpips": (0, 10), "coarse": (0, 1),
    "jitter": (0, 10), "seed": (0, 2**31 - 1), "profile": (0, 51),
}  # fmt: skip


@dataclass(frozen=True)
class TrainOptions:
    """Options of one run; `HELP` says what each is, defaults equal config/config.yaml."""

    model: str = "blendshapes"
    steps: int = 3000
    batch: int = 16
    gaussians: int = 16000
    uv_size: int = 128
    bases: int = 20
    mouth: float = 40.0
    ssim: float = 0.0
    lpips: float = 0.05
    coarse: float = 0.3
    jitter: float = 0.3
    seed: int = 0
    profile: int = 0

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            UserError: names the option, its value and what is allowed.
        """
        if self.model not in MODEL_NAMES:
            raise UserError(f"--model {self.model}: choose one of {', '.join(MODEL_NAMES)}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} {value}: must be between {low} and {high}")
