"""The options of training: those of every model, and those of the deformation model."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from headsplat.gaussians.deform.registry import MODELS, model_options
from headsplat.options import check_ranges, option, schema_of
from headsplat.runtime.errors import UserError, shown

NONE, TORSO = "none", "torso"
BODIES = (NONE, TORSO)


@dataclass(frozen=True)
class TrainOptions:
    """Options of one run; defaults equal config/config.yaml.

    Attributes:
        own: options of the deformation model, an instance of its `Options`; None stands for the
            defaults.

    Raises:
        UserError: no such model.
        TypeError: `own` belongs to another model.
    """

    model: str = option("blendshapes", "deformation model", choices=lambda: tuple(MODELS))
    steps: int = option(3000, "optimizer steps", 1, 10**7)
    batch: int = option(16, "images per step", 1, 256)
    mouth_weight: float = option(40.0, "weight of the mouth relative to the rest", 0, 1000)
    ssim_weight: float = option(0.0, "weight of 1 - SSIM, 0 for none", 0, 10)
    lpips_weight: float = option(
        0.05, "weight of LPIPS-VGG where its weight files are found, 0 for none; on crops of half "
        "the side, at full resolution", 0, 10,
    )  # fmt: skip
    coarse_fraction: float = option(0.3, "share of the steps at half resolution", 0, 1)
    code_noise: float = option(
        0.6, "noise (jitter) on the codes in training, in their deviations over the clip, and 0.3 "
        "of it on the head pose; not of flashavatar", 0, 10,
    )  # fmt: skip
    body: str = option(
        NONE, "what is trained below the head: torso adds Gaussians that follow the trunk, from "
        "what the mattes show outside of the head", choices=lambda: BODIES,
    )  # fmt: skip
    seed: int = option(0, "of everything random", 0, 2**31 - 1)
    profile_steps: int = option(
        0, "steps to profile into trace.json.gz, for the report; 0 for none", 0, 51
    )
    own: Any = None

    def __post_init__(self) -> None:
        expected = model_options(self.model)
        if self.own is None:
            object.__setattr__(self, "own", expected())
        if not isinstance(self.own, expected):
            raise TypeError(f"options {self.own} are not those of the model {self.model}")

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            UserError: names the option, its value and what is allowed.
        """
        check_ranges(self)
        check_ranges(self.own)

    def values(self) -> dict[str, Any]:
        """Every option by name, the model's own among them."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key != "own"} | values["own"]


def train_options(**values: Any) -> TrainOptions:
    """Options by name, those of the deformation model among them.

    Args:
        values: any option of any model; those of other models than `model` are left out.

    Raises:
        UserError: no such model, or no model has such an option.
    """
    common = {key: values[key] for key in values if key in shared_schema()}
    unknown = [key for key in values if key not in all_options()]
    if unknown:
        known = ", ".join(all_options())
        raise UserError(f"option '{shown(unknown[0])}' of training: there are {known}")
    model = model_options(values.get("model", TrainOptions.model))
    names = {field.name for field in fields(model)}
    own = model(**{key: values[key] for key in values if key in names})
    return TrainOptions(**common, own=own)


def shared_schema() -> dict[str, dict[str, Any]]:
    """Option name -> JSON schema, of the options that every model has."""
    return schema_of(TrainOptions)


def all_options() -> dict[str, dict[str, Any]]:
    """Option name -> JSON schema, the options of all models among them.

    Raises:
        TypeError: two models give one name to options of different types or ranges.
    """
    properties = shared_schema()
    for model in MODELS:
        for name, schema in schema_of(model_options(model)).items():
            if _values(properties.setdefault(name, schema)) != _values(schema):
                raise TypeError(f"deformation model '{model}': another option is called '{name}'")
    return properties


def _values(schema: dict[str, Any]) -> dict[str, Any]:
    """What an option may be, without its description."""
    return {key: value for key, value in schema.items() if key != "description"}
