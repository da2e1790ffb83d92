"""Masklet's results with plain pyzmq: nothing of Masklet is imported.

    pip install pyzmq msgspec numpy pycocotools
    python plain_pyzmq.py tcp://127.0.0.1:5555 --stream gate --count 10

Prints one line per object and frame, whose area is counted in the decoded mask, and one per
event: an object was added, is occluded, lost, reacquired or removed, the stream is up or down ...
"""

import argparse
import sys

import msgspec  # any MessagePack reader does
import numpy as np
import zmq
from pycocotools import mask as coco_mask


def read_mask(header: dict, entry: dict, masks: list[bytes]) -> np.ndarray:
    """The mask of one object on the whole frame, (height, width) bool."""
    full = np.zeros((header["height"], header["width"]), dtype=bool)
    mask = entry.get("mask")
    if mask is None:  # the object is not visible
        return full
    if mask["encoding"] != "rle":
        sys.exit(f"this example reads rle masks; the daemon sends {mask['encoding']}")
    x0, y0 = mask["offset"]
    height, width = mask["size"]
    crop = coco_mask.decode({"size": [height, width], "counts": masks[mask["part"]]})
    full[y0 : y0 + height, x0 : x0 + width] = crop
    return full


def event_line(header: dict) -> str:
    """The event in words; keys without a value are omitted, and others may be added."""
    words = [header["stream_id"], "event", header["kind"]]
    if "object_id" in header:
        words.append(f"object {header['object_id']}")
    if "reason" in header:
        words.append(f"({header['reason']})")
    if "absent_s" in header:
        words.append(f"unseen for {header['absent_s']:.1f} s")
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--stream", help="one stream; all without it")
    parser.add_argument("--count", type=int, help="end after this many frames")
    arguments = parser.parse_args()

    socket = zmq.Context().socket(zmq.SUB)
    socket.rcvhwm = 64
    # The closing slash keeps cam10 out of a subscription to cam1.
    which = f"{arguments.stream}/" if arguments.stream else ""
    socket.subscribe(f"v1/frame/{which}".encode())
    socket.subscribe(f"v1/event/{which}".encode())
    socket.connect(arguments.endpoint)

    epoch = None
    expected: dict[bytes, int] = {}
    frames = 0
    while arguments.count is None or frames < arguments.count:
        topic_part, header_part, *masks = socket.recv_multipart()
        header = msgspec.msgpack.decode(header_part)
        if header["schema"].split(".")[0] != "masklet/1":  # masklet/1.2 is still version 1
            sys.exit(f"the daemon speaks {header['schema']}, this example masklet/1")
        if header["epoch"] != epoch:  # the daemon was restarted: numbers begin at 0
            epoch = header["epoch"]
            expected.clear()
        seq = header["seq"]
        if seq < expected.get(topic_part, seq):  # repeated for a late joiner
            continue
        lost = seq - expected.get(topic_part, seq)
        if lost:
            print(f"lost {lost} messages of {topic_part.decode()}")
        expected[topic_part] = seq + 1
        if topic_part.startswith(b"v1/event/"):
            print(event_line(header), flush=True)
            continue
        frames += 1
        for entry in header["objects"]:
            mask = read_mask(header, entry, masks)
            print(
                f"{header['stream_id']} frame {header['frame_index']} object {entry['id']} "
                f"{entry['state']} box {tuple(entry['bbox'])} area {int(mask.sum())} "
                f"score {entry['score']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
