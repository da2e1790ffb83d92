"""A running fleet, reached through Ray: ``view.Fleet`` as calls of its manager."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from streamer.errors import FleetError, MaskletError
from streamer.fleet.cluster import MANAGER, namespace
from streamer.fleet.messages import Asked
from streamer.fleet.view import FleetView, WorkerAccess

_ANSWER_S = 60.0
_DOWN_S = 120.0
_NAMED = 8
AnswerT = TypeVar("AnswerT")


class RemoteFleet:
    """``view.Fleet`` for a process that is connected to the fleet's Ray cluster."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def view(self, after: int = -1, timeout_s: float = 0.0) -> FleetView:
        answer = await self._call(
            "view", Asked(after=after, timeout_s=timeout_s), _ANSWER_S + timeout_s
        )
        return self._read(answer, FleetView)

    async def access(self) -> WorkerAccess:
        return self._read(await self._call("access", Asked()), WorkerAccess)

    async def settings(self, stream_id: str) -> Mapping[str, Any]:
        return self._read(await self._call("settings", Asked(stream_id)), dict[str, Any])

    async def add(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        await self._call("add", Asked(stream_id, dict(settings)))

    async def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        await self._call("change", Asked(stream_id, dict(settings)))

    async def remove(self, stream_id: str) -> None:
        await self._call("remove", Asked(stream_id))

    async def move(self, stream_id: str, worker_id: str | None = None) -> None:
        await self._call("move", Asked(stream_id, worker_id=worker_id))

    async def drain(self, node: str, *, undo: bool = False) -> None:
        await self._call("drain", Asked(node=node, undo=undo))

    async def down(self, wait_s: float = _DOWN_S) -> None:
        import ray

        try:
            await self._call("down", Asked(), wait_s)
        except FleetError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            view = await self.view()
            left = ", ".join(each.worker_id for each in view.workers[:_NAMED])
            why = "" if view.trouble is None else f" ({view.trouble})"
            raise FleetError(
                f"{len(view.workers)} workers have not ended after {wait_s:g} s: {left}{why}; they "
                "end once they have saved their streams, or at once with `masklet fleet down "
                "--force`"
            ) from error
        ray.kill(ray.get_actor(MANAGER, namespace=namespace(self._name)))

    async def end(self) -> None:
        """End the manager and every worker at once: nothing is saved, no actor is asked."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        import ray
        from ray.util import list_named_actors

        mine = namespace(self._name)
        names = [each["name"] for each in list_named_actors(True) if each["namespace"] == mine]
        # The manager first: it would start workers anew.
        for name in sorted(names, key=lambda name: name != MANAGER):
            with suppress(ValueError):  # it has ended by itself
                ray.kill(ray.get_actor(name, namespace=mine))

    def _read(self, answer: bytes, kind: type[AnswerT]) -> AnswerT:
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.MsgspecError as error:
            raise FleetError(
                f"the manager of fleet {self._name} answers in a form that this version does not "
                f"read ({error}); use the version of masklet that `masklet fleet up` ran with"
            ) from error

    async def _call(self, method: str, asked: Asked, wait_s: float = _ANSWER_S) -> Any:
        import ray
        from ray.exceptions import RayError, RayTaskError

        message = msgspec.json.encode(asked)
        try:
            # In a thread: it waits for a head that is away, and the gateway's viewers must not.
            actor = await asyncio.to_thread(ray.get_actor, MANAGER, namespace=namespace(self._name))
            reply = getattr(actor, method).remote(message)
            return await asyncio.wait_for(reply, wait_s)
        except RayTaskError as error:
            if isinstance(error.cause, MaskletError):
                raise error.cause from None
            raise FleetError(f"the manager of fleet {self._name} failed: {error.cause}") from error
        except ValueError:
            raise FleetError(
                f"no fleet {self._name} runs on this Ray cluster: start it with `masklet fleet up`"
            ) from None
        except (AttributeError, TypeError):  # Ray compares a call with the actor's own class
            raise FleetError(
                f"the manager of fleet {self._name} is of another version, which has no {method!r} "
                "like this; use the version of masklet that `masklet fleet up` ran with"
            ) from None
        except (RayError, TimeoutError) as error:
            raise FleetError(
                f"the manager of fleet {self._name} does not answer ({type(error).__name__}); it "
                "is started again by Ray, try again in a moment"
            ) from error
