"""``masklet image embed DIR``: the pictures of a folder, encoded in batches, in one file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamer.cli import exit_codes
from streamer.cli.lines import write_line
from streamer.errors import ConfigError, PictureError
from streamer.runtime.machine import core_count
from streamer.sources.picture_files import picture_files, read_picture
from tracker import ImagePredictor, PreparedImage
from tracker.pictures.embedding_file import writing_embeddings

# On a processor larger batches leave its cache (``docs/pictures.md``).
BATCH_ON_A_DEVICE, BATCH_ON_A_PROCESSOR = 8, 1


def embed(
    folder: Path,
    out: Path,
    predictor: Callable[[], ImagePredictor],
    *,
    batch: int | None = None,
    overwrite: bool = False,
) -> int:
    """Encode every picture of ``folder`` into the file ``out``, ``batch`` of them together.

    A picture that cannot be read is named and left out. Raises ``ConfigError`` if the file is there
    already, ``PictureError`` if it cannot be written.
    """
    paths = picture_files(folder)
    if out.exists() and not (overwrite and out.is_file()):
        raise ConfigError(f"--out {out} is there already: name another, or --overwrite a file")
    network = predictor()
    if batch is None:
        on_device = network.device.type == "cuda"
        batch = BATCH_ON_A_DEVICE if on_device else BATCH_ON_A_PROCESSOR
    failed, begun_s = 0, time.monotonic()
    try:
        with (
            writing_embeddings(out, [path.name for path in paths]) as writer,
            _progress(len(paths)) as advance,
        ):
            for names, images, reasons in _batches(paths, network, batch):
                for reason in reasons:
                    failed += 1
                    write_line(f"masklet: {reason}", sys.stderr)
                if images:
                    writer.add(names, network.encode(images))
                advance(len(images) + len(reasons))
    except OSError as error:
        raise PictureError(f"{out} cannot be written: {error.strerror or error}") from error
    count, took_s = len(paths) - failed, time.monotonic() - begun_s
    write_line(
        f"{out}: {count} pictures in {took_s:.1f} s, {count / took_s:.1f} a second"
        + (f"; {failed} could not be read" if failed else "")
    )
    return exit_codes.FAILED if failed else exit_codes.DONE


def _batches(
    paths: Sequence[Path], network: ImagePredictor, batch: int
) -> Iterator[tuple[list[str], list[PreparedImage], list[str]]]:
    """Names and prepared pictures of each batch, and why others could not be read.

    Other threads decode and resize ahead. Bound: two pictures for each of them besides a batch; a
    prepared picture has S × S × 3 bytes.
    """

    def prepared(path: Path) -> PreparedImage:
        return network.prepare(read_picture(path).rgb)

    threads = core_count()
    rest = iter(paths)
    waiting: deque[tuple[Path, Future[PreparedImage]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for path in islice(rest, 2 * threads + batch - len(waiting)):
                    waiting.append((path, pool.submit(prepared, path)))
                if not waiting:
                    return
                names, images, reasons = [], [], []
                for path, future in [waiting.popleft() for _ in range(min(batch, len(waiting)))]:
                    try:
                        images.append(future.result())
                        names.append(path.name)
                    except PictureError as error:
                        reasons.append(str(error))
                yield names, images, reasons
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr if that is a terminal."""
    console = Console(stderr=True)
    columns = TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.update(task, advance=count)
