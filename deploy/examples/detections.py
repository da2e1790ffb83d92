"""A detector of your own starts objects, over one WebSocket: nothing of Masklet is imported.

    pip install websockets
    masklet run starter=boxes --stream gate=rtsp://camera.local/stream
    python detections.py http://127.0.0.1:8080 --stream gate --box 120,80,180,240

Reads which frame was tracked last and reports something in the box on that frame.
A real detector reads the camera itself and names its frames by their capture time.
"""

import argparse
import json
import os

from websockets.sync.client import connect


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--box", required=True, help="x0,y0,x1,y1 in pixels, half-open")
    parser.add_argument("--label", default="thing")
    parser.add_argument("--frames", type=int, default=5, help="send it for this many frames")
    arguments = parser.parse_args()
    box = [float(each) for each in arguments.box.split(",")]

    stream = f"{arguments.url.replace('http', 'ws', 1)}/v1/streams/{arguments.stream}"
    token = os.environ.get("MASKLET_TOKEN")  # where the daemon requires one
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with (
        connect(f"{stream}/results?masks=none", additional_headers=headers) as results,
        connect(f"{stream}/detections", additional_headers=headers) as detections,
    ):
        sent = 0
        while sent < arguments.frames:
            frame = json.loads(results.recv(timeout=10))
            if frame["type"] != "frame":
                continue
            message = {
                "frame_index": frame["frame_index"],
                "boxes": [{"box": box, "score": 0.9, "label": arguments.label}],
                "request_id": str(sent),  # asks for an answer
            }
            detections.send(json.dumps(message))
            answer = json.loads(detections.recv(timeout=10))
            print(frame["frame_index"], "accepted" if answer["accepted"] else answer["detail"])
            sent += 1


if __name__ == "__main__":
    main()
