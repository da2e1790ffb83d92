"""The packages of the wheel; everything else is in pyproject.toml.

Two folders of the repository are installed inside packages: ``configs`` as ``streamer/configs`` and
``checkpoints`` as ``tracker/checkpoints``. In a checkout the code finds them beside the packages.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["tracker", "tracker.*", "streamer", "streamer.*"]),
        "streamer.configs",
        "tracker.checkpoints",
    ],
    package_dir={"streamer.configs": "configs", "tracker.checkpoints": "checkpoints"},
    package_data={
        "streamer.configs": ["*.yaml", "*/*.yaml"],
        "tracker.checkpoints": ["*.safetensors", "*.calibration.json", "*.md"],
        "tracker": ["py.typed"],
        "streamer": ["py.typed", "web/*"],
    },
)
