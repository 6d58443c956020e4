"""The checkpoints of published code that a deformation model reads and leaves, by model."""

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
