"""Registry of published checkpoint formats, by deformation model."""

from headsplat.registry import Plugin, Registry

# Each target is a `headsplat.train.from_checkpoint.CheckpointFormat`.
CHECKPOINTS: Registry[Plugin] = Registry(
    "model with checkpoints of published code",
    {
        "flashavatar": Plugin(
            "headsplat.train.from_checkpoint:FLASHAVATAR", "chkpntN.pth of FlashAvatar"
        ),
    },
)
