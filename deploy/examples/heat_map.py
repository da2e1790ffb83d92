"""Draws where objects were, as a heat map, from the masks of Masklet's results over ZeroMQ.

    masklet run --stream gate=rtsp://camera.local/stream starter=motion
    python heat_map.py tcp://127.0.0.1:5555 --stream gate --count 1000 --out heat.png

Each pixel counts the frames on which a mask covered it; red is the most.
"""

import argparse

import cv2
import numpy as np

from streamer.client import Subscriber


def heat_picture(counts: np.ndarray) -> np.ndarray:
    """Counts (height, width) in colours, black where nothing was: uint8 (height, width, 3), BGR."""
    scaled = counts * (255 / max(counts.max(), 1))
    coloured = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_JET)
    return np.where(counts[..., None] > 0, coloured, 0).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--count", type=int, default=1000, help="so many frames")
    parser.add_argument("--label", help="only objects of this label")
    parser.add_argument("--out", default="heat.png")
    arguments = parser.parse_args()

    counts = np.zeros((0, 0))
    frames = 0
    with Subscriber(arguments.endpoint, [arguments.stream], ("frame",)) as messages:
        for message in messages:
            size = (message.header.height, message.header.width)
            if counts.shape != size:  # the first frame, or the camera changed its picture
                counts = np.zeros(size)
            for entry in message.objects:
                if arguments.label in (None, entry.label):
                    counts += message.mask(entry)
            frames += 1
            if frames >= arguments.count:
                break
    if not cv2.imwrite(arguments.out, heat_picture(counts)):
        raise SystemExit(f"{arguments.out} cannot be written")
    print(f"{arguments.out}: {frames} frames, at most {int(counts.max())} of them on one pixel")


if __name__ == "__main__":
    main()
