"""The page's modules: their unit tests run in Node, and everything that is named is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np

from streamer.sinks.video.palette import PALETTE
from streamer.wire.mask_codecs import MaskEncoding, encode_crop

WEB = Path(str(files("streamer"))) / "web"
HERE = Path(__file__).parent


def test_modules_do_what_they_say() -> None:
    node = shutil.which("node")
    assert node, "node is not installed (deploy/test-packages.txt names it)"
    tests = sorted(str(each) for each in HERE.glob("*.test.mjs"))
    assert tests
    ran = subprocess.run(
        [node, "--test", *tests],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_sample_masks_are_those_of_the_daemon() -> None:
    """``samples.json`` is what Node decodes; the daemon's encoder still writes the same."""
    for sample in json.loads((HERE / "samples.json").read_text())["masks"]:
        crop = np.array([[pixel == "1" for pixel in row] for row in sample["rows"]])
        assert list(crop.shape) == sample["size"]
        assert encode_crop(crop, MaskEncoding.RLE).decode() == sample["counts"]


def test_objects_have_the_same_colours_in_the_page_and_in_the_picture() -> None:
    values = re.findall(r'value: "#([0-9a-f]{6})"', (WEB / "palette.js").read_text())
    assert [tuple(bytes.fromhex(value)) for value in values] == list(PALETTE)


def test_everything_that_the_page_names_is_shipped() -> None:
    named = {
        name
        for source in (*WEB.glob("*.js"), WEB / "index.html")
        for name in re.findall(r'(?:from "\./|"static/)([^"]+)"', source.read_text())
    }
    assert "main.js" in named
    assert {name for name in named if not (WEB / name).is_file()} == set()
    unused = {each.name for each in WEB.iterdir()} - named - {"index.html"}
    assert unused == set()


def test_nothing_is_loaded_from_elsewhere_or_inline() -> None:
    """What the daemon's Content-Security-Policy would refuse, and what a closed network lacks."""
    page = (WEB / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=", page)
    assert len(re.findall(r"<script(?![^>]*\ssrc=)", page)) == 1  # its hash is in the policy
    for source in WEB.iterdir():
        text = source.read_text().replace("http://www.w3.org/2000/svg", "")
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)
        assert set(addresses) <= {"//camera.example"}, source.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(", text), source.name
