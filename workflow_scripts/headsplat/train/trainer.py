"""The training loop: batches of frames, keyed checkpoints, a stop at the first NaN."""

import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.cli import log
from headsplat.deform.base import Gaussians
from headsplat.errors import UserError
from headsplat.evaluate.metrics import ssim
from headsplat.train.checkpoint import State, load_state, save_state
from headsplat.train.dataset import ResidentPictures, StreamedPictures
from headsplat.train.losses import composite, weighted_huber
from headsplat.train.lpips import Lpips
from headsplat.train.options import TrainOptions
from headsplat.train.plan import Plan
from headsplat.train.prepare import TrainingFrames

# Steps between looks at the losses: each look waits for the device.
CHECK_EVERY = 50
# Seconds between checkpoints, and between lines of the log.
SAVE_EVERY, LOG_EVERY = 20.0, 10.0
TERMS = ("huber", "ssim", "lpips", "offset", "scale", "bases")


@dataclass(frozen=True)
class Outcome:
    """What a finished run reports.

    Attributes:
        per_image: (S, B) loss of each picture of each step.
        terms: (S, len(TERMS)) weighted loss terms.
        seconds: of stepping, over all sessions of a resumed run.
        optimiser: Adam's state dict.
    """

    per_image: Tensor
    terms: Tensor
    seconds: float
    optimiser: dict[str, Any]


class Trainer:
    """Steps an initialised avatar along a plan.

    Args:
        avatar: its deformation's parameters are trained in place.
        frames: the training frames by row.
        pictures: their pictures by step of the plan.
        plan: what each step draws.
        options: of the run.
        lpips: the distance, or None.
    """

    def __init__(
        self,
        avatar: Avatar,
        frames: TrainingFrames,
        pictures: ResidentPictures | StreamedPictures,
        plan: Plan,
        options: TrainOptions,
        lpips: Lpips | None,
    ) -> None:
        self.avatar, self.frames, self.pictures = avatar, frames, pictures
        self.options, self.lpips = options, lpips
        device = avatar.device
        self._plan, self._rates = plan, plan.rates
        self._rows, self._backgrounds = plan.rows.to(device), plan.backgrounds.to(device)
        self._jitter = plan.jitter.to(device)
        steps, batch = plan.rows.shape
        self.steps, self.batch = steps, batch
        groups = avatar.deformation.parameter_groups(batch)
        self._base_rates = [group["lr"] for group in groups]
        self.optimiser = torch.optim.Adam(groups, fused=True)
        self._per_image = torch.zeros(steps, batch, device=device)
        self._terms = torch.zeros(steps, len(TERMS), device=device)
        self._stop = False

    def gaussians(self, rows: Tensor, jitter: Tensor | None = None) -> Gaussians:
        """Deform some training frames, (B,) long rows, their codes jittered or as they are."""
        frames = self.frames
        inputs = self.avatar.inputs(
            frames.condition[rows],
            frames.vertices[rows],
            frames.rotation[rows],
            frames.translation[rows],
        )
        return self.avatar.deformation(replace(inputs, jitter=jitter))

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Render the step's frames and charge them: (B,) per picture, and scalars by term."""
        rows, background = self._rows[step], self._backgrounds[step]
        planes = self.pictures.batch(step).float() / 255
        target = composite(planes[..., :3], planes[..., 3], background)
        weight = 1 + self.options.mouth * planes[..., 4]
        intrinsics = self.frames.intrinsics.expand(len(rows), 4)
        if step < self.options.coarse * self.steps:
            target, weight = halve(target), halve(weight[..., None])[..., 0]
            intrinsics = intrinsics / 2
        height, width = target.shape[1:3]
        gaussians = self.gaussians(rows, self._jitter[step])
        image, _ = self.avatar.rasterise(
            gaussians,
            self.frames.rotation[rows],
            self.frames.translation[rows],
            intrinsics.contiguous(),
            width,
            height,
            background,
        )
        each = {"huber": weighted_huber(image, target, weight)}
        if self.options.ssim > 0:
            each["ssim"] = self.options.ssim * (1 - ssim(target, image))
        if self.lpips is not None:
            each["lpips"] = self.options.lpips * self.lpips(image, target)
        per_image = torch.stack(list(each.values())).sum(0) * self.frames.weight[rows]
        terms = {name: value.mean() for name, value in each.items()}
        terms |= self.avatar.deformation.regularisation(gaussians)
        return per_image, terms

    def step(self, step: int) -> None:
        """One step of the plan; nothing in it waits for the device."""
        for group, rate in zip(self.optimiser.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * self._rates[step]
        self.avatar.deformation.advance(step * self.batch)
        self.optimiser.zero_grad(set_to_none=True)
        per_image, terms = self.loss(step)
        penalties = [
            value for name, value in terms.items() if name not in ("huber", "ssim", "lpips")
        ]
        sum(penalties, per_image.mean()).backward()
        self.optimiser.step()
        self._per_image[step] = per_image.detach()
        for name, value in terms.items():
            self._terms[step, TERMS.index(name)] = value.detach()

    def run(self, scratch: Path) -> Outcome:
        """Train to the end of the plan, from where a previous run of the same key stopped.

        SIGTERM and SIGINT save the state and end the process with status 143.

        Raises:
            UserError: a loss was NaN or infinite; it names the frames. The last good state stays.
        """
        first, before = self._resume(scratch)
        handlers = {
            number: signal.signal(number, self._request_stop)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        log.info(
            "training %s: %d Gaussians on %s, steps %d to %d",
            self.options.model, len(self.avatar.anchors), self.avatar.device, first, self.steps,
        )  # fmt: skip
        start = last_save = last_log = time.monotonic()
        try:
            for step in range(first, self.steps):
                self._guarded_step(step, first)
                now = time.monotonic()
                due = self._stop or now - last_save > SAVE_EVERY
                if due or (step + 1) % CHECK_EVERY == 0 or step + 1 == self.steps:
                    self._check(first, step + 1)
                if due and step + 1 < self.steps:
                    self._save(scratch, step + 1, before + now - start)
                    last_save = now
                if self._stop:
                    log.info(
                        "stopped at step %d of %d; the same command continues", step + 1, self.steps
                    )
                    raise SystemExit(143)
                if now - last_log > LOG_EVERY:
                    self._report(step, first, now - start)
                    last_log = now
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self.avatar.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = before + time.monotonic() - start
        return Outcome(
            self._per_image.cpu(), self._terms.cpu(), seconds, self.optimiser.state_dict()
        )

    def _request_stop(self, number: int, frame: Any) -> None:
        del number, frame
        self._stop = True

    def _guarded_step(self, step: int, first: int) -> None:
        try:
            self.step(step)
        except ValueError as error:
            # The rasteriser refuses parameters that are not finite: an earlier loss was at fault,
            # or else these frames' geometry is.
            self._check(first, step)
            ids = sorted(self.frames.ids[int(row)] for row in self._plan.rows[step])
            names = ", ".join(map(str, ids))
            raise UserError(f"training: frames {names} cannot be drawn: {error}") from error

    def _check(self, first: int, end: int) -> None:
        bad = (~torch.isfinite(self._per_image[first:end])).nonzero().cpu()
        if not len(bad):
            return
        step = first + int(bad[0, 0])
        hit = [int(slot) for row, slot in bad if first + int(row) == step]
        ids = sorted(self.frames.ids[int(self._plan.rows[step, slot])] for slot in hit)
        raise UserError(
            f"training: the loss of frames {', '.join(map(str, ids))} was not a finite number at "
            f"step {step}; look at these frames' track, or lower the rates"
        )

    def _save(self, scratch: Path, step: int, seconds: float) -> None:
        model = self.avatar.deformation.state_dict()
        save_state(
            scratch,
            State(
                step, seconds, model, self.optimiser.state_dict(),
                self._per_image[:step].cpu(), self._terms[:step].cpu(),
            ),
        )  # fmt: skip

    def _resume(self, scratch: Path) -> tuple[int, float]:
        state = load_state(scratch)
        if state is None:
            return 0, 0.0
        self.avatar.deformation.load_state_dict(state.model)
        self.optimiser.load_state_dict(state.optimiser)
        self._per_image[: state.step] = state.per_image.to(self.avatar.device)
        self._terms[: state.step] = state.terms.to(self.avatar.device)
        log.info("continuing at step %d of %d", state.step, self.steps)
        return state.step, state.seconds

    def _report(self, step: int, first: int, seconds: float) -> None:
        rate = (step + 1 - first) / seconds
        recent = self._per_image[max(0, step - 50) : step + 1].mean().item()
        log.info(
            "step %d/%d  %.1f images/s  loss %.5f  %.0f s left",
            step + 1, self.steps, rate * self.batch, recent, (self.steps - step - 1) / rate,
        )  # fmt: skip


def halve(picture: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H // 2, W // 2, C) by area."""
    small = torch.nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), 2)
    return small.permute(0, 2, 3, 1).contiguous()
