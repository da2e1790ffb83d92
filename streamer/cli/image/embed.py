"""``masklet image embed DIR``: the pictures of a folder, encoded in batches, in one file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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

# Batches that are decoded ahead of the one that is encoded; a prepared picture has S × S × 3 bytes.
_BATCHES_AHEAD = 2


def embed(
    folder: Path,
    out: Path,
    predictor: Callable[[], ImagePredictor],
    *,
    batch: int,
    overwrite: bool = False,
) -> int:
    """Encode every picture of ``folder`` into the file ``out``.

    A picture that cannot be read is named and left out. Raises ``ConfigError`` if the file is there
    already, ``PictureError`` if it cannot be written.
    """
    paths = picture_files(folder)
    if out.exists() and not (overwrite and out.is_file()):
        raise ConfigError(f"--out {out} is there already: name another, or --overwrite a file")
    network = predictor()
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

    Pictures are decoded and resized ahead by other threads, ``_BATCHES_AHEAD`` batches at most.
    """

    def prepared(path: Path) -> PreparedImage:
        return network.prepare(read_picture(path).rgb)

    with ThreadPoolExecutor(core_count()) as pool:
        waiting: deque[list[tuple[Path, Future[PreparedImage]]]] = deque()
        starts = iter(range(0, len(paths), batch))
        try:
            while True:
                while len(waiting) <= _BATCHES_AHEAD and (begin := next(starts, None)) is not None:
                    some = paths[begin : begin + batch]
                    waiting.append([(path, pool.submit(prepared, path)) for path in some])
                if not waiting:
                    return
                names, images, reasons = [], [], []
                for path, future in waiting.popleft():
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
