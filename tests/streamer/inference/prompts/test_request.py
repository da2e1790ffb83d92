"""Objects of the configuration become prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config.streams import ObjectConfig
from streamer.errors import ConfigError
from streamer.inference.prompts.request import PromptRequest, configured_prompts
from tracker import Prompt


def test_configured_objects_keep_their_points_boxes_labels_and_frames() -> None:
    requests = configured_prompts(
        "gate",
        [
            ObjectConfig(id=1, label="dog", points=[[3, 4], [5, 6]]),
            ObjectConfig(id=2, points=[[3, 4]], point_labels=[0], box=[0, 1, 2, 3], at_frame=9),
        ],
    )
    assert [request.prompt for request in requests] == [
        Prompt(1, points_xy=((3, 4), (5, 6)), point_labels=(1, 1)),
        Prompt(2, points_xy=((3, 4),), point_labels=(0,), box_xyxy=(0, 1, 2, 3)),
    ]
    assert [(each.label, each.at_frame) for each in requests] == [("dog", 0), (None, 9)]
    assert len({request.request_id for request in requests}) == 2


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_mask_file_that_cannot_be_read_is_named_with_its_key(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "mask.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"streams\.gate\.objects\[0\]\.mask_file: .*mask\.png"):
        configured_prompts("gate", [ObjectConfig(id=1, mask_file=str(path))])


def test_withdrawn_request_does_not_begin() -> None:
    request = PromptRequest("gate", Prompt(1, box_xyxy=(0, 0, 1, 1)))
    assert request.outcome.cancel()
    assert not request.begin()
    assert request.outcome.cancelled()


def test_request_that_has_begun_cannot_be_withdrawn_and_may_begin_again() -> None:
    request = PromptRequest("gate", Prompt(1, box_xyxy=(0, 0, 1, 1)))
    assert request.begin()
    assert request.begin()
    assert not request.outcome.cancel()
    request.rejected("no")
    assert request.outcome.result().reason == "no"
