"""The rule's work: the procedural head with MediaPipe's points where the detector sees them."""

from dataclasses import replace
from pathlib import Path

from headsplat.synthetic.head.assemble import assemble
from headsplat.synthetic.head.embedding import mediapipe_embedding, mediapipe_targets
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.head.observe import observed_targets


def build(path: Path) -> None:
    """Write the head to `path`, MediaPipe's points placed where the detector sees them."""
    model, head = procedural_head(), assemble()
    targets = mediapipe_targets(head) | observed_targets(model, head)
    landmarks = {**model.landmarks, "mediapipe": mediapipe_embedding(head, targets)}
    replace(model, landmarks=landmarks).save(path)
