"""A camera and viewers that are not browsers, against a real daemon: aiortc over the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from statistics import fmean

import cv2
import numpy as np
import pytest

from tests.conftest import eventually, find_free_port
from tests.integration.browser.frame_counter import ImageArray, read
from tests.integration.browser.scene import Scene, middle
from tests.integration.webrtc.http_client import HttpClient
from tests.integration.webrtc.peers import Camera, Seen, Session, pictures_of, publishing, watching
from tests.integration.webrtc.results import Recording, ResultsSocket, agreement, numbers_by_frame
from tests.masklet_process import Daemon, Masklet

SCENE = Scene(turn=60)
PLAYER = 3
WAIT_S = 60.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, HttpClient]]:
    """A daemon with nano and one stream that waits for a publisher."""
    folder = tmp_path_factory.mktemp("daemon")
    port = find_free_port()
    http = HttpClient(f"http://127.0.0.1:{port}")
    # A click on a busy machine takes a while; what it hits must not depend on that.
    settings = (f"api.port={port}", "state_directory=none", "history.duration_s=10")
    with Masklet(folder).daemon(*settings, "--stream", "camera=whip://") as daemon:
        http.wait_until_ready(daemon)
        yield daemon, http


async def until(condition: Callable[[], object], what: str) -> None:
    """``eventually`` beside an event loop that has peers to serve."""
    await asyncio.to_thread(eventually, condition, WAIT_S, what)


async def keep(session: Session, seen: list[Seen]) -> None:
    """Read a viewer's pictures until it ends."""
    async for picture in session.pictures():  # a comprehension would fill the list at the end
        seen.append(picture)  # noqa: PERF401


def snapshot(http: HttpClient, stream_id: str, view: str) -> ImageArray:
    """The newest picture, (H, W, 3)."""
    answer = http.call("GET", f"/v1/streams/{stream_id}/snapshot.jpg?view={view}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    return np.asarray(cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR))


def compare_snapshots(http: HttpClient, stream_id: str, player: int) -> None:
    """On the same picture, the overlay is drawn over this player only."""
    assert http.call("POST", f"/v1/streams/{stream_id}/pause").status in {200, 204}

    def same_picture() -> list[ImageArray]:
        # A frame that was in the model when the stream was paused may still come in between.
        before, overlay, after = (
            snapshot(http, stream_id, view) for view in ("clean", "overlay", "clean")
        )
        return [before, overlay] if np.array_equal(before, after) else []

    clean, overlay = eventually(same_picture, WAIT_S, "one picture in both views")
    number = read(clean)
    assert number is not None
    changed = np.abs(overlay.astype(int) - clean).max(axis=2) > 24
    share = {each: changed[SCENE.mask(number, each)].mean() for each in range(1, 5)}
    assert share[player] > 0.5, share
    assert max(value for each, value in share.items() if each != player) < 0.1, share
    assert http.call("POST", f"/v1/streams/{stream_id}/resume").status in {200, 204}


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_a_clicked_player_is_followed_and_both_ways_out_agree(
    served: tuple[Daemon, HttpClient], codec: str
) -> None:
    daemon, http = served
    camera = Camera(pictures_of(SCENE), SCENE.rate_hz)
    seen: list[Seen] = []
    with Recording(daemon.endpoint) as recording, ResultsSocket(http, "camera") as results:
        async with (
            publishing(http, "camera", camera, codec) as publisher,
            asyncio.TaskGroup() as tasks,
        ):
            await until(lambda: http.stream("camera")["state"] == "live", "the first picture")
            async with watching(http, "camera", "clean") as viewer:
                watching_task = tasks.create_task(keep(viewer, seen))
                offset = int(viewer.answer.headers["Masklet-RTP-Offset"])

                def known() -> dict[int, int]:
                    shown = [(each.number, each.rtp_time) for each in seen]
                    return numbers_by_frame(shown, offset, list(results.frames))

                await until(lambda: len(known()) >= 3, "pictures whose results are known")
                # Click where the player was on a seen picture, and send its number.
                index, number = max(known().items())
                x, y = middle(SCENE.mask(number, PLAYER))
                answer = await asyncio.to_thread(
                    http.call,
                    "POST",
                    "/v1/streams/camera/objects",
                    {
                        "label": "player",
                        "points": [{"x": x, "y": y, "positive": True}],
                        "frame": {"frame_index": index},
                    },
                )
                assert answer.status in {200, 201}, answer.body
                applied = answer.json()
                assert applied["frame_index"] == index
                object_id = applied["object_id"]
                before = len(recording.frames("camera"))
                await until(
                    lambda: len([each for each in known() if each > index]) >= 20,
                    "pictures after the click",
                )
                messages = recording.frames("camera")[before:]
                scores = agreement(SCENE, messages, known(), object_id, PLAYER)
                assert len(scores) >= 10
                assert fmean(scores) > 0.4, scores
                await asyncio.to_thread(compare_snapshots, http, "camera", PLAYER)
                removal = f"/v1/streams/camera/objects/{object_id}"
                assert (await asyncio.to_thread(http.call, "DELETE", removal)).status in {200, 204}
                assert await viewer.delete() in {200, 204}
                await watching_task
            assert await publisher.delete() in {200, 204}
        await until(lambda: http.stream("camera")["state"] != "live", "the stream to be down")
