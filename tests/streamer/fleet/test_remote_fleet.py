"""What a manager answers, read by another version than its own."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.errors import FleetError
from streamer.fleet.messages import Asked
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.fleet.view import FleetView


class Answered(RemoteFleet):
    """A manager, without Ray, whose every answer is ``answer``."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("yard")
        self._answer = answer

    async def _call(self, method: str, asked: Asked, wait_s: float = 0.0) -> Any:
        return self._answer


async def test_a_field_of_a_later_version_is_ignored() -> None:
    fleet = Answered(b'{"name": "yard", "revision": 3, "moon": "full"}')
    assert await fleet.view() == FleetView("yard", 3)


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b'{"name": "yard"}', b'{"name": "yard", "revision": "three"}']
)
async def test_an_answer_that_cannot_be_read_is_a_sentence(answer: bytes) -> None:
    with pytest.raises(FleetError, match=r"fleet yard answers .* use the version of masklet"):
        await Answered(answer).view()


async def test_a_manager_without_this_method_is_of_another_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: object())
    with pytest.raises(
        FleetError, match=r"another version, which has no 'move' .* use the version"
    ):
        await RemoteFleet("yard").move("gate")
