"""Published files: URL, size and digest; and the folder for downloads.

Imports no torch. The folder is defined here for the command that downloads and the code that loads.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_BASE = "https://dl.fbaipublicfiles.com/segment_anything_2"
_FOLDERS = {"sam2.1": "092824", "sam2": "072824"}
_EFFICIENTTAM = "yunyangx/efficient-track-anything"


@dataclass(frozen=True, slots=True)
class OfficialCheckpoint:
    """One published file; ``name`` is its preset.

    A file that is published in a git repository has git's id of its content, ``git_blob``, in place
    of a sha256; ``size_bytes`` is then an upper bound.
    """

    name: str
    url: str
    size_bytes: int
    sha256: str = ""
    git_blob: str = ""
    hub: str = ""

    @property
    def hub_name(self) -> str:
        """The repository on the Hugging Face hub that holds the same file."""
        return self.hub or f"facebook/{self.name.replace('_', '-')}"

    @property
    def digest(self) -> str:
        """The published digest."""
        return self.sha256 or self.git_blob

    def digest_of(self, path: Path) -> str:
        """The digest of a file, of the kind that is published. Reads all of it."""
        with path.open("rb") as file:
            if self.sha256:
                return hashlib.file_digest(file, "sha256").hexdigest()
            header = b"blob %d\0" % path.stat().st_size  # git-hash-object
            return hashlib.sha1(header + file.read(), usedforsecurity=False).hexdigest()

    def has_size_of(self, path: Path) -> bool:
        """Whether a file exists and is as large as the published one, as far as that is known."""
        if not path.is_file():
            return False
        size = path.stat().st_size
        return size == self.size_bytes if self.sha256 else size <= self.size_bytes

    @property
    def file_name(self) -> str:
        """The published file name."""
        return f"{self.name}.pt"


def _official(name: str, size_bytes: int, sha256: str) -> OfficialCheckpoint:
    folder = _FOLDERS[name.partition("_")[0]]
    return OfficialCheckpoint(name, f"{_BASE}/{folder}/{name}.pt", size_bytes, sha256)


def _efficienttam(name: str, size_bytes: int, sha256: str) -> OfficialCheckpoint:
    url = f"https://huggingface.co/{_EFFICIENTTAM}/resolve/main/{name}.pt"
    return OfficialCheckpoint(name, url, size_bytes, sha256, hub=_EFFICIENTTAM)


OFFICIAL_CHECKPOINTS: dict[str, OfficialCheckpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        _official(
            "sam2.1_hiera_tiny",
            156008466,
            "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        ),
        _official(
            "sam2.1_hiera_small",
            184416285,
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        _official(
            "sam2.1_hiera_base_plus",
            323606802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        _official(
            "sam2.1_hiera_large",
            898083611,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        _official(
            "sam2_hiera_tiny",
            155906050,
            "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        ),
        _official(
            "sam2_hiera_small",
            184309650,
            "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        ),
        _official(
            "sam2_hiera_base_plus",
            323493298,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        _official(
            "sam2_hiera_large",
            897952466,
            "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        ),
        OfficialCheckpoint(
            "edgetam",
            "https://github.com/facebookresearch/EdgeTAM/raw/main/checkpoints/edgetam.pt",
            60_000_000,
            git_blob="abd54d22bbd22ba3e53cf59a307e59e0f3701be6",
            hub="facebook/EdgeTAM",
        ),
        _efficienttam(
            "efficienttam_ti",
            71616316,
            "acbb17b28cca1f860acee09c9ecb6efdb732080dc7a85a07292c31813175fa7d",
        ),
        _efficienttam(
            "efficienttam_ti_512x512",
            71620052,
            "7d4d652a465f0081391050932f45d8a66768ccc99c8ea393ce8a5927e83f3b9b",
        ),
        _efficienttam(
            "efficienttam_s",
            136375868,
            "2b572be30d9e96ee29c8d785fe157c6b079ede7d56fbc8a3671d4120e63c89cd",
        ),
        _efficienttam(
            "efficienttam_s_512x512",
            136379145,
            "67b5840012737ed2c94a4cb8787c5c1b27b3a946045d2e602e65ef77230b6085",
        ),
    )
}


def checkpoint_directory() -> Path:
    """The folder of downloads: ``$MASKLET_CHECKPOINTS``, else in the user's cache.

    A user without a home folder has the machine's cache.
    """
    if chosen := os.environ.get("MASKLET_CHECKPOINTS"):
        return Path(os.path.expanduser(chosen))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache if os.path.isabs(cache) else "/var/cache") / "masklet" / "checkpoints"
