"""Registry of head models. A new head is one module and one line here.

Importing this module imports none of them, so that planning needs no torch.
"""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry


@dataclass(frozen=True)
class Head(Plugin):
    """A head model; the target is a function (out, file, ...) that publishes a `HeadModel`.

    Attributes:
        assets: asset keys of its source files, in the order of the target's arguments; may be
            empty.
        mica: whether its identity coefficients are FLAME's, so that MICA can estimate them.
    """

    assets: tuple[str, ...] = ()
    mica: bool = False


HEADS: Registry[Head] = Registry(
    "head",
    {
        "procedural": Head(
            "headsplat.synthetic.head.calibrated:build_procedural_head",
            "the project's own head",
        ),
        "ict": Head("headsplat.heads.ict.build:import_ict_head", "ICT-FaceKit", ("ict",)),
        "flame": Head(
            "headsplat.heads.flame:import_flame_head",
            "the user's own FLAME",
            (
                "flame_model",
                "flame_mesh",
                "flame_masks",
                "flame_landmarks",
                "flame_mediapipe",
                "flame_eyelids",
            ),
            mica=True,
        ),
    },
)
