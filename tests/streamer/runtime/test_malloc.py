"""Freed memory is not mapped anew at every step; by the kernel's count of new pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Sixteen blocks of 1 MiB, written to and freed again, ten times over, in a thread as a step is;
# prints how many pages were new in the last five.
SCRIPT = """
import ctypes, resource, threading
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def step():
    blocks = [libc.malloc(1 << 20) for _ in range(16)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    for block in blocks:
        libc.free(block)

def steps():
    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""
KEEP = "from streamer.runtime.malloc import keep_freed_memory; assert keep_freed_memory() is {kept}"
PAGES_OF_A_STEP = 16 * 256


def new_pages(before: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


@pytest.fixture(autouse=True)
def no_malloc_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def test_a_step_finds_the_pages_of_the_one_before() -> None:
    assert new_pages("") > 4 * PAGES_OF_A_STEP  # glibc by itself: all of them, every time
    assert new_pages(KEEP.format(kept=True)) < PAGES_OF_A_STEP / 8


def test_allocator_settings_of_the_environment_are_kept() -> None:
    pages = new_pages(KEEP.format(kept=False), MALLOC_TRIM_THRESHOLD_="131072")
    assert pages > 4 * PAGES_OF_A_STEP


def test_the_command_does_it_for_every_one_of_its_own() -> None:
    assert new_pages("from streamer.cli.main import main; main(['version'])") < PAGES_OF_A_STEP / 8
