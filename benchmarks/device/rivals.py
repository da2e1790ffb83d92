"""`transformers`, and Meta's predictor eager and fully compiled, in the cells of the goals.

``compile_ahead`` fills Inductor's cache while the checks run, so that the compiled predictor is
ready within its budget here.
"""

from __future__ import annotations

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.timing import spread
from benchmarks.engine import HEIGHT, WIDTH, EngineCell, measure_time, ready
from benchmarks.implementations import Setting
from tests.tracker.agreement.scripts import picture

OFFICIAL, COMPILED = "official", "official-compiled"
_CELLS = (
    EngineCell("tiny", 1024, 1, 1),
    EngineCell("tiny", 1024, 16, 1),
    EngineCell("large", 1024, 1, 1),
    EngineCell("tiny", 1024, 1, 16),
    EngineCell("tiny", 1024, 4, 1),
)
_BUDGET_S, _COMPILED_BUDGET_S, _ROUNDS = 8.0, 30.0, 12


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    names = ["transformers"] if scale.rehearsal else [COMPILED, "transformers", OFFICIAL]
    cells = _CELLS if not scale.rehearsal else (EngineCell("tiny", scale.image_size, 1, 1),)
    for cell in cells:
        config = scale.config(cell.size)
        if scale.rehearsal:  # `transformers` takes the widths of the released models only
            config = cell.config()
        for name in names:
            key = f"{name} {cell.name}"
            # Its compilation for many objects is another one, of minutes.
            if record.has(key) or (name == COMPILED and cell.objects > 1):
                continue
            found = measure_time(
                cell,
                config,
                [name],
                Setting(scale.device, scale.dtype, cell.streams),
                _ROUNDS if not scale.rehearsal else 1,
                _COMPILED_BUDGET_S if name == COMPILED else _BUDGET_S,
            )
            times = {way: by.get(name) for way, by in found["seconds"].items()}
            record.add(
                key,
                refused=found["refused"].get(name),
                **{way: spread([1000 * each for each in own]) for way, own in times.items() if own},
            )


def compile_ahead(scale: Scale, record: Record) -> None:
    """Compile Meta's predictor into the cache that ``run`` uses."""
    if scale.rehearsal or record.has(COMPILED):
        return
    cell = _CELLS[0]
    ready(
        COMPILED,
        cell,
        scale.config(cell.size),
        Setting(scale.device, scale.dtype),
        picture(1, HEIGHT, WIDTH),
    )
    record.add(COMPILED, ready=True)
