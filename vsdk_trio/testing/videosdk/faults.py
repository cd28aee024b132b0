"""What a fake room service does wrong on purpose. Must not know how it serves."""

from __future__ import annotations

import attrs
import trio


@attrs.frozen
class Refusal(Exception):
    """A no: `status` is an HTTP status, or the error code of the signaling; `message` says why."""

    status: int
    message: str


@attrs.define
class Faults:
    """What to do wrong, by the name of the request.

    Names are `rooms`, `recordings` and `server-init-config` (REST), `websocket` (the upgrade), and
    the methods of the signaling: `getRouterRtpCapabilities`, `createWebRtcTransport`, `join`,
    `produce`, ...
    `refuse` holds answers to give instead, `ignore` what is never answered, `delay` seconds to wait
    before anything else. They may be changed at any time.
    """

    refuse: dict[str, Refusal] = attrs.field(factory=dict)
    ignore: set[str] = attrs.field(factory=set)
    delay: dict[str, float] = attrs.field(factory=dict)

    async def meet(self, name: str) -> None:
        """Do to the request `name` what is to be done to it: wait, wait for ever, raise."""
        await trio.sleep(self.delay.get(name, 0))
        if name in self.ignore:
            await trio.sleep_forever()
        if name in self.refuse:
            raise self.refuse[name]
