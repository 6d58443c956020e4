"""Training loop with resumable checkpoints; stops at the first loss that is not finite."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.formats.flashavatar.checkpoint import Checkpoint, adam_state
from headsplat.runtime.cuda_graph import CudaGraph
from headsplat.runtime.errors import UserError
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.runtime.stopping import Stopped, postponed
from headsplat.train.checkpoint import Snapshot, State, load_state, save_state
from headsplat.train.options import TrainOptions
from headsplat.train.plan import Plan
from headsplat.train.profile import profile_steps
from headsplat.train.step import TrainingStep

# Steps between checks of losses and rasterizer budget; each check synchronizes.
CHECK_EVERY = 50
# Largest share of time spent on saving; it sets the checkpoint interval, within bounds.
SAVE_SHARE = 0.02
# Seconds between checkpoints, at least and at most, and between lines of the log.
SAVE_EVERY, LOG_EVERY = (1.0, 20.0), 10.0
TRACE_FILE = "trace.json.gz"


@dataclass(frozen=True)
class Outcome:
    """Results of a finished run.

    Attributes:
        per_image: (S, B) loss of each image of each step.
        terms: (S, K) weighted loss terms; see `headsplat.train.step.term_names`.
        seconds: training time, over all sessions of a resumed run.
        optimizer: Adam's state dict, with learning rates as floats.
        profile: microseconds of a step by part, empty if not requested.
    """

    per_image: Tensor
    terms: Tensor
    seconds: float
    optimizer: dict[str, Any]
    profile: dict[str, float]


def checkpoint_interval(cost: float) -> float:
    """Seconds between checkpoints, given that saving the last one took `cost` seconds."""
    least, most = SAVE_EVERY
    return min(max(cost / SAVE_SHARE, least), most)


class Trainer:
    """Trains a part of an initialized avatar along a plan.

    Args:
        step: the step, which holds avatar, frames and images.
        plan: its random draws.
        options: training options.
        start: checkpoint that the avatar's parameters come from, or None.

    Attributes:
        done: number of finished steps.
    """

    def __init__(
        self,
        step: TrainingStep,
        plan: Plan,
        options: TrainOptions,
        start: Checkpoint | None = None,
    ) -> None:
        self.avatar, self.frames, self.images = step.avatar, step.frames, step.images
        self.options, self._plan = options, plan
        self.steps, self.batch = plan.rows.shape
        self._step = step
        self._captured = CudaGraph(step, step.avatar.device, own_stream=True)
        self.done = 0
        # Steps equivalent to the images seen before; they set the progress of the deformation.
        self._earlier = 0
        if start is not None:
            self._earlier = start.iteration // self.batch
            groups = self._step.optimizer.state_dict()["param_groups"]
            self._step.load_optimizer(adam_state(start, groups))
        self._snapshot = Snapshot(step.model, step.optimizer)
        self._profile: dict[str, float] = {}

    def step(self, number: int) -> None:
        """Run step `number` of the plan, without synchronization."""
        self.images.prepare(number)
        self._captured(self._step.phase(self._earlier + number))

    def advance(self, end: int) -> None:
        """Train up to step `end` and check the losses.

        Raises:
            UserError: a loss was NaN or infinite, or a frame cannot be drawn; it names the frames.
        """
        with self._captured.stream():
            while self.done < end:
                self._guarded_step()
                if self._due() or self.done == end:
                    self._check_recent_steps()

    def run(self, scratch: Path, keep: bool = False) -> Outcome:
        """Train to the end of the plan, resuming a previous run of the same key.

        Args:
            scratch: folder of the checkpoint.
            keep: save a checkpoint at the end, too, because another training follows.

        Must run in the main thread, which receives stop signals.

        Raises:
            Stopped: the process was asked to stop, and the state is saved.
            UserError: as `advance`. The last good checkpoint is kept.
            torch.OutOfMemoryError: the GPU has too little memory; the last good state is saved.
        """
        with postponed() as asked, self._captured.stream():
            seconds = self._run(scratch, asked)
            if keep:
                self._save(scratch, seconds)
        return Outcome(
            self._step.per_image.cpu(),
            self._step.terms.cpu(),
            seconds,
            self._optimizer_state(),
            self._profile,
        )

    def _run(self, scratch: Path, asked: Callable[[], bool]) -> float:
        before = self._resume(scratch)
        first = self.done
        log.info(
            "training %s: %d Gaussians on %s, steps %d to %d",
            self._step.name, self._step.count, self.avatar.device, first, self.steps,
        )  # fmt: skip
        start = last_save = last_log = time.monotonic()
        pause = checkpoint_interval(0.0)
        while self.done < self.steps:
            try:
                self._guarded_step()
                now = time.monotonic()
                stop = asked()
                save = stop or (now - last_save > pause and self.done < self.steps)
                if save or self._due():
                    self._check_recent_steps()
                self._maybe_profile(scratch)
            except torch.OutOfMemoryError:
                self._save_last_good(scratch, before + time.monotonic() - start)
                raise
            if save:
                # The device is synchronized here, so only the cost of saving is timed.
                begun = time.monotonic()
                self._save(scratch, before + begun - start)
                last_save = time.monotonic()
                pause = checkpoint_interval(last_save - begun)
            if stop:
                log.info("saved after step %d of %d", self.done, self.steps)
                raise Stopped
            if now - last_log > LOG_EVERY:
                self._report(first, now - start)
                last_log = now
        return before + time.monotonic() - start

    def _due(self) -> bool:
        """Whether to check now: at intervals, at the end, and before a graph capture."""
        return (
            self.done % CHECK_EVERY == 0
            or self.done == self.steps
            or self._captured.about_to_record
        )

    def _guarded_step(self) -> None:
        try:
            self.step(self.done)
        except ValueError as error:
            # The rasterizer rejects parameters that are not finite, caused by an earlier loss or by
            # these frames' geometry.
            self._check_losses()
            ids = sorted(self.frames.ids[int(row)] for row in self._plan.rows[self.done])
            names = ", ".join(map(str, ids))
            raise UserError(f"training: frames {names} cannot be drawn: {error}") from error
        self.done += 1
        beat("training, step", self.done, self.steps)

    def _check_recent_steps(self) -> None:
        """Check the steps since the last check; repeat them if images lacked Gaussians."""
        self._check_losses()
        budget = self._step.budget
        if budget is None:
            self._snapshot.note(self.done)
            return
        try:
            short = budget.grow()
        except UserError as error:
            raise UserError(
                f"training: between steps {self._snapshot.step} and {self.done}: {error}; look at "
                "the track, or lower the rates"
            ) from error
        if short:
            # Some images lacked Gaussians: repeat their steps with larger buffers.
            self._captured.forget()
            self._set_step(self._snapshot.restore())
        else:
            self._snapshot.take(self.done)

    def _check_losses(self) -> None:
        first = self._snapshot.step
        bad = (~torch.isfinite(self._step.per_image[first : self.done])).nonzero().cpu()
        if not len(bad):
            return
        step = first + int(bad[0, 0])
        hit = [int(slot) for row, slot in bad if first + int(row) == step]
        ids = sorted(self.frames.ids[int(self._plan.rows[step, slot])] for slot in hit)
        raise UserError(
            f"training: the loss of frames {', '.join(map(str, ids))} was not a finite number at "
            f"step {step}; look at these frames' track, or lower the rates"
        )

    def _set_step(self, step: int) -> None:
        self.done = step
        self._step.cursor.fill_(step)

    def _save_last_good(self, scratch: Path, seconds: float) -> None:
        """Save the last good state after an out-of-memory error."""
        self._captured.forget()
        self._step.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        self._set_step(self._snapshot.restore())
        if self.done:
            self._save(scratch, seconds)

    def _maybe_profile(self, scratch: Path) -> None:
        """Profile some steps once, after the middle of the run; they train as usual."""
        count = min(self.options.profile_steps, self.steps - self.done)
        ready = self.done >= self.steps // 2 and self._captured.settled
        if count and ready and not self._profile:
            trace = scratch / TRACE_FILE
            self._profile = profile_steps(self._guarded_step, count, self.avatar.device, trace)
            self._check_recent_steps()

    def _optimizer_state(self) -> dict[str, Any]:
        state = self._step.optimizer.state_dict()
        groups = [
            {**group, "lr": float(group["lr"]), "capturable": False}
            for group in state["param_groups"]
        ]
        return {"state": state["state"], "param_groups": groups}

    def _save(self, scratch: Path, seconds: float) -> None:
        model = self._step.model.state_dict()
        step = self._step
        save_state(
            scratch,
            State(
                self.done, seconds, model, step.optimizer.state_dict(),
                step.per_image[: self.done].cpu(), step.terms[: self.done].cpu(),
            ),
        )  # fmt: skip

    def _resume(self, scratch: Path) -> float:
        state = load_state(scratch)
        if state is None:
            return 0.0
        self._step.model.load_state_dict(state.model)
        step = self._step
        step.load_optimizer(state.optimizer)
        step.per_image[: state.step] = state.per_image.to(self.avatar.device)
        step.terms[: state.step] = state.terms.to(self.avatar.device)
        self._set_step(state.step)
        self._snapshot.take(state.step)
        log.info("continuing at step %d of %d", state.step, self.steps)
        return state.seconds

    def _report(self, first: int, seconds: float) -> None:
        rate = (self.done - first) / seconds
        recent = self._step.per_image[max(0, self.done - 50) : self.done].mean().item()
        log.info(
            "step %d/%d  %.1f images/s  loss %.5f  %.0f s left",
            self.done, self.steps, rate * self.batch, recent, (self.steps - self.done) / rate,
        )  # fmt: skip
