"""The faults of a schedule, each a method; `strike` finds it by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from vsdk_trio.testing.network import Connection

from .registries import JUNK, Link, stray
from .schedule import Fault

if TYPE_CHECKING:
    from .world import Life, World

GARBAGE = (b"\xff" * 10, b"\x81", b"\x83\x05hello", b"HTTP/1.1 500 No\r\n\r\n", b"\x88\x01\x00")


class Faults:
    """Makes things go wrong in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def strike(self, fault: Fault) -> None:
        """Let it happen."""
        if self._world.is_healed:
            return
        life = self._world.lives[fault.worker]
        if fault.kind != "kill_worker":  # which counts only where there is one to kill
            self._world.trace.fault(fault.kind, f"for worker {fault.worker}")
        getattr(self, f"_{fault.kind}")(fault, life)

    def _connection(self, life: Life) -> list[Connection]:
        return life.dialer.connections[-1:]

    def _link(self, life: Life) -> list[Link]:
        return self._world.registries.links_of(life.number)[-1:]

    def _reset(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.reset()

    def _finish(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.finish()

    def _black_hole(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.black_hole()

    def _deaf_registry(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.black_hole(down=False)

    def _deaf_worker(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.black_hole(up=False)

    def _junk_bytes(self, fault: Fault, life: Life) -> None:
        for connection in self._connection(life):
            connection.garble(GARBAGE[fault.choice % len(GARBAGE)])

    def _later(self, fault: Fault, undo: partial[None]) -> None:
        self._world.agenda.at(trio.current_time() + fault.seconds, undo)

    def _set(self, life: Life, name: str, value: bool) -> None:
        setattr(life.dialer, name, value)

    def _down(self, fault: Fault, life: Life) -> None:
        life.dialer.is_up = False
        for connection in life.dialer.connections:
            connection.reset()
        self._later(fault, partial(self._set, life, "is_up", True))

    def _silent(self, fault: Fault, life: Life) -> None:
        life.dialer.is_silent = True
        for connection in life.dialer.connections:
            connection.black_hole()
        self._later(fault, partial(self._set, life, "is_silent", False))

    def _set_up(self, value: bool) -> None:
        for life in self._world.lives:
            life.dialer.is_up = value

    def _restart(self, fault: Fault, life: Life) -> None:
        """In order, and without a memory."""
        self._set_up(False)
        self._world.registries.replace()
        self._later(fault, partial(self._set_up, True))

    def _crash_registry(self, fault: Fault, life: Life) -> None:
        """With a memory."""
        self._set_up(False)
        self._world.registries.crash()
        self._later(fault, partial(self._set_up, True))

    def _amnesia(self, fault: Fault, life: Life) -> None:
        """Without a memory."""
        self._set_up(False)
        self._world.registries.crash()
        self._world.registries.replace()
        self._later(fault, partial(self._set_up, True))

    def _reject_with(self, status: int | None) -> None:
        self._world.registries.rejects = status

    def _reject(self, fault: Fault, life: Life) -> None:
        self._reject_with((500, 503, 404)[fault.choice % 3])
        for connection in self._connection(life):
            connection.reset()
        self._later(fault, partial(self._reject_with, None))

    def _refuse(self, fault: Fault, life: Life) -> None:
        self._reject_with((401, 403)[fault.choice % 2])
        if fault.choice % 3 == 0:
            for connection in self._connection(life):
                connection.reset()
        self._later(fault, partial(self._reject_with, None))

    def _kill_process(self, fault: Fault, life: Life) -> None:
        life.jobs.kill_any(fault.choice)

    def _kill_worker(self, fault: Fault, life: Life) -> None:
        """SIGKILL, now or just after the next news of a job, and another start some time later."""
        kill = partial(life.kill, fault.seconds)
        if fault.choice % 2:
            kill()
        else:
            self._world.registries.at_next_update[life.number] = partial(self._soon, fault, kill)
        if fault.choice % 8 > 3:
            # What it was assigned comes again, in its next life as a rule.
            for seconds in (1.5, 3.0, 6.0):
                again = partial(self._assign_all_again, life)
                self._world.agenda.at(fault.at + fault.seconds + seconds, again)

    def _soon(self, fault: Fault, kill: Callable[[], object]) -> None:
        if not self._world.is_healed and trio.current_time() < fault.at + 5:
            delay = 0.5 * (fault.choice % 64) / 64
            self._world.agenda.at(trio.current_time() + delay, kill)

    def _disk_fails(self, fault: Fault, life: Life) -> None:
        life.disk.failure = "the simulated disk is full"
        self._later(fault, partial(setattr, life.disk, "failure", None))

    def _junk_frame(self, fault: Fault, life: Life) -> None:
        for link in self._link(life):
            link._nursery.start_soon(link.send_junk_later, fault.choice % len(JUNK))

    def _repeat(self, fault: Fault, life: Life, kinds: tuple[str, ...], *, own: bool) -> None:
        told = [
            text
            for worker, text in self._world.registries.history
            if (worker == life.number) == own and any(f'"{kind}"' in text for kind in kinds)
        ]
        for link in self._link(life) if told else ():
            link.post(told[fault.choice % len(told)])

    def _assign_all_again(self, life: Life) -> None:
        told = {
            text
            for worker, text in self._world.registries.history
            if worker == life.number and '"job_assignment"' in text
        }
        for link in () if self._world.is_healed else self._link(life):
            for text in sorted(told):
                link.post(text)

    def _repeat_frame(self, fault: Fault, life: Life) -> None:
        kinds = ("availability_request", "job_assignment", "job_termination", "pong")
        self._repeat(fault, life, kinds, own=True)

    def _foreign_frame(self, fault: Fault, life: Life) -> None:
        """What another worker was told."""
        kinds = ("availability_request", "job_assignment", "job_termination", "pong")
        self._repeat(fault, life, kinds, own=False)

    def _assign_again(self, fault: Fault, life: Life) -> None:
        self._repeat(fault, life, ("job_assignment",), own=True)

    def _stray_assignment(self, fault: Fault, life: Life) -> None:
        for link in self._link(life):
            link.post(stray("job_assignment", f"stray-{fault.choice}", -1))

    def _stray_termination(self, fault: Fault, life: Life) -> None:
        for link in self._link(life):
            link.post(stray("job_termination", f"stray-{fault.choice}", -1))
