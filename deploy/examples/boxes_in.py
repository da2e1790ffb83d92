"""A detector of your own starts objects, with plain pyzmq: nothing of Masklet is imported.

    pip install pyzmq msgspec
    masklet run starter=boxes --stream gate=rtsp://camera.local/stream
    python boxes_in.py tcp://127.0.0.1:5555 tcp://127.0.0.1:5556 --stream gate --box 120,80,180,240

Reads which frame was tracked last and says that there is something in the box on that frame.
A real detector reads the camera itself and names its frames by their capture time.
"""

import argparse
import sys

import msgspec  # any MessagePack reader does
import zmq


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("boxes_in", nargs="?", default="tcp://127.0.0.1:5556")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--box", required=True, help="x0,y0,x1,y1 in pixels, half-open")
    parser.add_argument("--label", default="thing")
    parser.add_argument("--frames", type=int, default=5, help="send it for this many frames")
    arguments = parser.parse_args()
    box = [float(each) for each in arguments.box.split(",")]

    context = zmq.Context()
    results = context.socket(zmq.SUB)
    results.subscribe(f"v1/boxes/{arguments.stream}/".encode())
    results.connect(arguments.results)
    detector = context.socket(zmq.DEALER)
    detector.linger = 1000
    detector.connect(arguments.boxes_in)

    for number in range(arguments.frames):
        _topic, header_part = results.recv_multipart()
        header = msgspec.msgpack.decode(header_part)
        message = {
            "schema": "masklet-boxes/1",
            "stream_id": arguments.stream,
            "frame_index": header["frame_index"],
            "boxes": [{"box": box, "score": 0.9, "label": arguments.label}],
            "request_id": str(number),  # only who gives one is told that it was taken
        }
        detector.send(msgspec.msgpack.encode(message))
        if not detector.poll(10_000):
            sys.exit("no answer within 10 s: is boxes_in.enabled, and the address right?")
        answer = msgspec.msgpack.decode(detector.recv())
        print(header["frame_index"], "accepted" if answer["accepted"] else answer["detail"])


if __name__ == "__main__":
    main()
