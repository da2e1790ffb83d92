"""The training loop: phases, steps, averages, checkpoints. One instance per process.

A step is a pure function of the weights, the optimiser, (seed, step, process) and its place in the
schedule: a resumed run equals one that was never stopped, whatever makes its clips. The place is
counted in steps or, where a run is given minutes, in its own elapsed time: then the learning rate
has come to its end when time is up, however slow the machine was.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from tracker.config import ModelConfig
from tracker.model.precision import avoid_plans
from tracker.model.sam2 import Sam2
from tracker.training import history
from tracker.training.clip import ClipBatch
from tracker.training.data import ClipSource, step_generator
from tracker.training.initialise import place_memory, place_prompts
from tracker.training.optimise import Average, Optimiser, fast_dtype, share_gradients
from tracker.training.recipe import Phase, Recipe
from tracker.training.supply import ClipSupply, Order, PackedClips, SupplyError
from tracker.training.tally import Tally
from tracker.training.teacher import Teacher
from tracker.training.unroll import Sampling, Unroll, normalise
from tracker.weights.checkpoint import save_checkpoint

_PLACING_CLIPS = 48


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of results, the seed, and the rank of this process.

    ``minutes``: duration of the whole run, without pauses between slices; None: the recipe's number
    of steps. ``slice_minutes``: duration of this slice. ``workers``: processes that make the clips.
    """

    out: Path
    seed: int
    device: torch.device
    rank: int = 0
    processes: int = 1
    minutes: float | None = None
    slice_minutes: float | None = None
    workers: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    @property
    def clips_device(self) -> torch.device:
        """Where clips are made; workers have no other device than the CPU."""
        return torch.device("cpu") if self.workers else self.device


class Trainer:
    """Trains a model by a recipe; ``train`` returns at the recipe's end or after a signal.

    ``weights`` None starts from scratch (with ``place_prompts`` if the recipe says so).
    ``teacher``, if any, tracks the same clips; the student learns its answers beside the truth.
    """

    def __init__(
        self,
        config: ModelConfig,
        recipe: Recipe,
        source: ClipSource,
        run: Run,
        weights: dict[str, Tensor] | None = None,
        teacher: Teacher | None = None,
        report: Callable[[history.Record], None] = lambda _: None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.config, self.recipe, self.source, self.run = config, recipe, source, run
        self.teacher = teacher
        self.report, self.advance = report, advance
        self.step = 0
        self.elapsed_s = 0.0
        self.records: list[history.Record] = []
        self._stop = False
        self._phase = ""
        self._supply: ClipSupply | None = None
        torch.manual_seed(run.seed)
        avoid_plans(run.device)
        self.model = Sam2(config).to(run.device)
        if weights is not None:
            self.model.load_state_dict(weights)
        elif recipe.structured_initialisation:
            place_prompts(self.model)
        self.optimiser = Optimiser(self.model, recipe)
        self.average = Average(self.model, recipe.ema_decay)

    @property
    def checkpoint_path(self) -> Path:
        """The file from which a stopped run continues."""
        return self.run.out / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the run's minutes are over."""
        if self.run.minutes is None:
            return self.step >= self.recipe.steps
        return self.elapsed_s >= 60 * self.run.minutes

    def _place(self, step: int) -> tuple[Phase, float]:
        """The phase of a step, and the fraction of it that is over, 0..1."""
        if self.run.minutes is None:
            return self.recipe.phase_at(step)
        return self.recipe.phase_after(self.elapsed_s / (60 * self.run.minutes))

    def _orders(self) -> Iterator[Order]:
        """The steps that follow; in a run of minutes as its clock stands when each is asked for."""
        step = self.step
        while True:
            phase, over = self._place(step)
            size = phase.image_size or self.config.image_size
            # Equal in all processes, whose gradients must have equal shapes.
            lot = step_generator(self.run.seed, step, 62, torch.device("cpu"))
            if float(torch.rand((), generator=lot)) < phase.half_size_share:
                size //= 2
            phase = replace(phase, image_size=size, half_size_share=0.0)
            yield Order(step, phase, over, -(-phase.clips // self.run.processes))
            step += 1

    def _take(self) -> tuple[Order, ClipBatch]:
        """The next step's order and clips."""
        run = self.run
        if self._supply is None:
            self._supply = ClipSupply(
                self.source, self._orders(), run.seed, run.rank, run.clips_device, run.workers
            )
        return self._supply.take(run.device)

    def request_stop(self) -> None:
        """End after the running step, with a checkpoint."""
        self._stop = True

    def resume(self) -> bool:
        """Load the checkpoint in the run's folder, if there is one."""
        if not self.checkpoint_path.exists():
            return False
        self._supply = None
        saved = torch.load(self.checkpoint_path, map_location=self.run.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.average.weights = saved["average"]
        self.optimiser.load(saved["optimiser"])
        self.step, self.elapsed_s = saved["step"], saved["elapsed_s"]
        self._phase = saved["phase"]
        self.records = history.read(self.run.out / "log.jsonl", self.step)
        if self.run.leads:
            history.rewrite(self.run.out / "log.jsonl", self.records)
        return True

    def train(self) -> None:
        """Run to the recipe's end or to a stop; always leaves a checkpoint and an export."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.request_stop())
        tally = Tally()
        stopping = False
        slice_ends_s = self.elapsed_s + 60 * (self.run.slice_minutes or float("inf"))
        try:
            while not self.finished and not stopping and self.elapsed_s < slice_ends_s:
                started = time.monotonic()
                stopping = self.one_step(tally)
                self.elapsed_s += time.monotonic() - started
                self.advance(self.step)
                if self.run.leads:
                    self._housekeeping(tally)
        except RuntimeError as error:
            # PyTorch raises it wherever this process is when a worker dies.
            if "DataLoader worker" not in str(error):
                raise
            raise SupplyError(
                f"a process that makes clips ended ({error}); often for lack of memory: the same "
                f"command with fewer --workers continues from {self.checkpoint_path}"
            ) from error
        finally:
            if self._supply is not None:
                self._supply.close()
                self._supply = None
        if self.run.leads:
            self.save()

    def one_step(self, tally: Tally) -> bool:
        """One optimiser step; True if a process wants to stop."""
        started = time.monotonic()
        order, batch = self._take()
        data_s = time.monotonic() - started
        phase, over = order.phase, order.over
        begins, self._phase = phase.name != self._phase, phase.name
        generator = step_generator(self.run.seed, self.step, self.run.rank, self.run.device)
        self._fit_image_size(phase.image_size)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not name.startswith(phase.frozen or ("-",)))
        if phase.place_memory and begins:
            self._place_memory(phase)
        correction, visible_only = torch.rand(2, generator=generator, device=generator.device)
        sampling = Sampling(
            phase.box_share,
            phase.point_share,
            phase.at(phase.teacher_forcing, over),
            float(correction) < phase.correction_share,
            phase.memory_drop,
            float(visible_only) < phase.visible_memory_share,
        )
        device = self.run.device
        low = self.recipe.bfloat16 and fast_dtype(device) is torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            result = Unroll(self.model, self.recipe.losses).run(batch, sampling, generator)
            loss = result.total()
            if self.teacher is not None:
                lesson = self.teacher.lesson(batch, generator)
                loss = loss + self.teacher.loss(result, lesson)
        loss.backward()
        stopping = share_gradients(self.model, self._stop)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        rate = self._learning_rate(*self._place(self.step))
        if bool(torch.isfinite(norm)):
            self.optimiser.step(rate)
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.model, self.step)
        step_s = time.monotonic() - started
        tally.add(result, float(loss.detach()), rate, data_s, float(norm), step_s)
        return stopping

    def averaged_model(self) -> Sam2:
        """The averaged weights in a model of the configured image size, on the CPU."""
        model = Sam2(self.config)
        model.load_state_dict(self.average.weights)
        return model

    def save(self) -> None:
        """Checkpoint, export and picture."""
        out = self.run.out
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimiser": self.optimiser.state(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "phase": self._phase,
        }
        temporary = self.checkpoint_path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint_path)
        notes = {
            "training_steps": str(self.step),
            "training_seconds": str(round(self.elapsed_s)),
            "training_seed": str(self.run.seed),
        }
        save_checkpoint(self.averaged_model(), out / f"{self.config.name}.safetensors", notes=notes)
        if self.records:
            history.draw(self.records, out / "curves.png")

    def _fit_image_size(self, size: int) -> None:
        """Rebuild the model's tables for another image size; parameters and averages stay."""
        if self.model.config.image_size == size:
            return
        resized = Sam2(self.config.replaced(image_size=size)).to(self.run.device)
        resized.load_state_dict(self.model.state_dict())
        state = self.optimiser.state()
        self.model = resized
        self.optimiser = Optimiser(resized, self.recipe)
        self.optimiser.load(state)

    def _place_memory(self, phase: Phase) -> None:
        """Prepare the memory from a batch that is the same in every process."""
        generator = step_generator(self.run.seed, self.step, 63, self.run.clips_device)
        made = self.source.clips(replace(phase, frames=1), 1.0, _PLACING_CLIPS, generator)
        batch = PackedClips.of(made).unpacked(self.run.device)
        generator = step_generator(self.run.seed, self.step, 61, self.run.device)
        images = normalise(batch.images_BT3SS[:, 0])[batch.image_of_object()]
        place_memory(self.model, images, batch.masks_of_frame(0), generator)
        self.average = Average(self.model, self.recipe.ema_decay)

    def _learning_rate(self, phase: Phase, over: float) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.recipe.warmup_steps))
        return warm * phase.at(phase.learning_rate, over)

    def _housekeeping(self, tally: Tally) -> None:
        if self.step % self.recipe.log_every == 0:
            record = tally.record(self.step, self._phase, self.elapsed_s)
            self.records.append(record)
            history.append(self.run.out / "log.jsonl", record)
            self.report(record)
        if self.step % self.recipe.checkpoint_every == 0:
            self.save()


def join_processes(run: Run, meeting_file: Path) -> None:
    """Join the other processes of this machine through a file; nothing to do for a single one."""
    if run.processes > 1:
        dist.init_process_group(
            "nccl" if run.device.type == "cuda" else "gloo",
            init_method=f"file://{meeting_file.resolve()}",
            rank=run.rank,
            world_size=run.processes,
        )
