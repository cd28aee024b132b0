"""What will happen in one simulated world, as data: generated from a seed, readable when printed.

Pure. Times are seconds since the world began.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class CallbackPlan:
    """A shutdown callback: takes `seconds`, or for ever; and may raise."""

    seconds: float = 0.0
    fails: bool = False


@attrs.frozen(kw_only=True)
class JobPlan:
    """One job: when it is dispatched, what its program does, and what happens to its process."""

    at: float
    seconds: float = 1.0
    end: str = "return"  # raise, exit0, exit3, shutdown, nursery
    wait: bool = False
    joins_after: float | None = None
    timeout: float | None = None
    callbacks: tuple[CallbackPlan, ...] = ()
    slow_stop: float = 0.0
    freezes_after: float | None = None
    crash_after: float | None = None
    crash_at_byte: int | None = None
    crash_code: int = -11
    memory_mb: float = 20.0
    stderr_lines: int = 0
    junk_frames: int = 0
    terminate_after: float | None = None
    withdraw_after: float | None = None
    unasked: bool = False


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """One worker: its options, when it starts and how it is ended."""

    options: dict[str, Any]
    starts_at: float = 0.0
    ends_at: float | None = None
    ends_by: str = "drain"  # stop, hurry, cancel
    then: tuple[float, str] | None = None
    request: str | None = None  # fast, slow, late, no, raises
    start_delays: tuple[float, ...] = ()
    init_seconds: float = 0.1
    spawn_failures: int = 0
    init_failures: int = 0
    has_journal: bool = False
    disk_delay: float = 0.0


@attrs.frozen(kw_only=True)
class Fault:
    """Something goes wrong at `at`; `kind` is a method of the world, see `faults`."""

    at: float
    kind: str
    worker: int = 0
    seconds: float = 0.0
    choice: int = 0


@attrs.frozen(kw_only=True)
class Network:
    """How connections are, until the world is healed."""

    delay: float = 0.0
    jitter: float = 0.0
    split_share: float = 0.0
    bytes_per_second: float | None = None
    cut_share: float = 0.0
    duplicate_share: float = 0.0
    late_share: float = 0.0
    junk_share: float = 0.0
    answers_pings: bool = True


@attrs.frozen(kw_only=True)
class Schedule:
    """A world. From `heals_at` on no new fault comes, and new connections are perfect."""

    seed: int
    workers: tuple[WorkerPlan, ...]
    jobs: tuple[JobPlan, ...]
    faults: tuple[Fault, ...]
    network: Network
    heals_at: float
    ends_at: float

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: healed at {self.heals_at:g}, ended at {self.ends_at:g}"]
        lines += [f"  network: {_short(self.network)}"]
        lines += [f"  worker {n}: {_short(plan)}" for n, plan in enumerate(self.workers)]
        lines += [f"  job {n}: {_short(plan)}" for n, plan in enumerate(self.jobs)]
        lines += [f"  fault: {_short(fault)}" for fault in self.faults]
        return "\n".join(lines)


def _short(plan: Any) -> str:
    shown = []
    for field in attrs.fields(type(plan)):
        value = getattr(plan, field.name)
        if value != field.default:
            shown.append(f"{field.name}={value!r}")
    return " ".join(shown) or "as usual"


FAULTS = (
    "reset", "finish", "black_hole", "deaf_registry", "deaf_worker", "down", "silent",
    "restart", "crash_registry", "amnesia", "repeat_frame", "foreign_frame", "stray_assignment",
    "stray_termination", "junk_frame", "junk_bytes", "kill_process", "reject", "refuse",
    "assign_again", "assign_again", "assign_again", "kill_worker", "kill_worker", "disk_fails",
)  # fmt: skip


def generate(seed: int) -> Schedule:
    """The world of this seed."""
    rng = random.Random(f"{seed} of the schedule")
    chaos = rng.choice((0.0, 0.3, 0.3, 1.0))
    count = rng.choice((1, 1, 1, 1, 2, 2, 3))
    busy = rng.choice((2.0, 10.0, 30.0))
    jobs = tuple(
        sorted(
            (_job(rng, busy, chaos) for _ in range(rng.randint(1, 2 + 2 * count))),
            key=lambda job: job.at,
        )
    )
    span = busy + rng.choice((2.0, 10.0, 30.0))
    workers = tuple(_worker(rng, span, chaos) for _ in range(count))
    faults = tuple(sorted(_faults(rng, span, chaos, workers), key=lambda fault: fault.at))
    heals_at = max([span, *(_over(fault, workers) for fault in faults)])
    beat = max(worker.options["heartbeat_interval"] for worker in workers)
    patience = rng.random()
    settle = 3 * beat + 45 if patience < 0.7 else rng.uniform(0, 10)
    return Schedule(
        seed=seed,
        workers=workers,
        jobs=jobs,
        faults=faults,
        network=_network(rng, chaos),
        heals_at=heals_at,
        ends_at=heals_at + settle,
    )


def _faults(
    rng: random.Random, span: float, chaos: float, workers: tuple[WorkerPlan, ...]
) -> Iterator[Fault]:
    if not chaos:
        return
    for _ in range(rng.randint(0, 4)):
        yield _fault(rng, span, len(workers))
    for number, worker in enumerate(workers):
        if worker.has_journal and _maybe(rng, 0.5):
            # Drawn as any fault is, it would seldom strike one that can be killed.
            at, pause = _time(rng, span), _time(rng, rng.choice((1.0, 5.0)))
            yield Fault(
                at=at, kind="kill_worker", worker=number, seconds=pause, choice=rng.getrandbits(16)
            )


def _over(fault: Fault, workers: tuple[WorkerPlan, ...]) -> float:
    """When the world can be as it was before the fault."""
    recovery = workers[fault.worker].options["close_timeout"] + 20
    return fault.at + fault.seconds + recovery * (fault.kind == "kill_worker")


def _time(rng: random.Random, limit: float) -> float:
    return round(rng.uniform(0, limit), 3)


def _maybe(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _job(rng: random.Random, busy: float, chaos: float) -> JobPlan:
    plan: dict[str, Any] = {
        "at": _time(rng, busy),
        "seconds": round(rng.choice((0.0, 0.5, 2.0, 10.0, 60.0)) * rng.random(), 3),
        "end": rng.choice(("return",) * 5 + ("raise", "exit0", "exit3", "shutdown", "nursery")),
        "callbacks": tuple(_callback(rng) for _ in range(rng.choice((0, 1, 1, 3)))),
    }
    if _maybe(rng, 0.3):
        plan |= {"wait": _maybe(rng, 0.7), "joins_after": _time(rng, 3)}
    if _maybe(rng, 0.25):
        plan["terminate_after"] = _time(rng, rng.choice((0.5, 5.0, 20.0)))
    if _maybe(rng, 0.1):
        plan["withdraw_after"] = _time(rng, 1)
    if _maybe(rng, 0.1):
        plan["timeout"] = round(rng.uniform(0.5, 10), 3)
    if _maybe(rng, 0.1):
        plan["stderr_lines"] = rng.choice((1, 30, 3000))
    if _maybe(rng, 0.25 * chaos):
        plan["unasked"] = True
    if _maybe(rng, 0.5 * chaos):
        plan |= rng.choice(
            (
                {"slow_stop": round(rng.uniform(0.1, 30), 3)},
                {"freezes_after": _time(rng, 5)},
                {"crash_after": _time(rng, rng.choice((0.2, 3.0, 30.0)))},
                {"crash_after": _time(rng, 3), "crash_code": rng.choice((0, 1, 137, -9, -15))},
                {"crash_at_byte": rng.randint(1, 400)},
                {"memory_mb": 900.0},
                {"junk_frames": rng.randint(1, 5)},
            )
        )
    return JobPlan(**plan)


def _callback(rng: random.Random) -> CallbackPlan:
    kind = rng.random()
    if kind < 0.6:
        return CallbackPlan(seconds=round(rng.choice((0.0, 0.05, 1.0)) * rng.random(), 3))
    return CallbackPlan(fails=True) if kind < 0.85 else CallbackPlan(seconds=1000.0)


def _worker(rng: random.Random, span: float, chaos: float) -> WorkerPlan:
    options: dict[str, Any] = {
        "max_processes": rng.choice((1, 1, 2, 3)),
        "num_idle_processes": rng.choice((0, 1, 1, 2)),
        "close_timeout": rng.choice((0.5, 5.0, 60.0)),
        "termination_timeout": rng.choice((0.2, 1.0, 3.0)),
        "drain_timeout": rng.choice((1.0, 20.0, 3600.0)),
        "heartbeat_interval": rng.choice((2.0, 5.0, 15.0, 15.0)),
        "assignment_timeout": rng.choice((0.5, 7.5, 7.5)),
        "initialize_timeout": rng.choice((1.0, 10.0)),
        "shutdown_callback_timeout": rng.choice((0.1, 2.0, 10.0)),
        "registration_timeout": rng.choice((2.0, 10.0)),
        "status_vocabulary": rng.choice(("deployed", "documented")),
    }
    plan: dict[str, Any] = {"options": options}
    if _maybe(rng, 0.1):
        options["max_retry"] = rng.choice((0, 2))
    if _maybe(rng, 0.15):
        options["job_timeout"] = round(rng.uniform(1, 15), 3)
    if _maybe(rng, 0.2):
        options["memory_limit_mb"] = 500.0
    if _maybe(rng, 0.35):
        options["request_timeout"] = rng.choice((0.5, 5.0))
        plan["request"] = rng.choice(("fast", "slow", "late", "no", "raises"))
    if _maybe(rng, 0.2):
        plan["starts_at"] = _time(rng, span / 2)
    if _maybe(rng, 0.25):
        plan["ends_at"] = _time(rng, span)
    plan["ends_by"] = rng.choice(("drain", "drain", "stop", "hurry", "cancel"))
    if _maybe(rng, 0.25):
        plan["then"] = (_time(rng, 10), rng.choice(("stop", "hurry", "cancel")))
    if chaos and _maybe(rng, 0.3):
        plan["start_delays"] = tuple(_time(rng, 4) for _ in range(rng.randint(1, 4)))
    if chaos and _maybe(rng, 0.2):
        plan["init_seconds"] = rng.choice((0.9, 3.0))
    if chaos and _maybe(rng, 0.2):
        plan["spawn_failures"] = rng.randint(1, 4)
    if chaos and _maybe(rng, 0.2):
        plan["init_failures"] = rng.randint(1, 4)
    if _maybe(rng, 0.4):
        plan["has_journal"] = True
        options["state_dir"] = "state"
        plan["disk_delay"] = rng.choice((0.0, 0.01, 0.4))
    return WorkerPlan(**plan)


def _fault(rng: random.Random, span: float, workers: int) -> Fault:
    kind = rng.choice(FAULTS)
    lasting = kind in (
        "down", "silent", "restart", "crash_registry", "amnesia", "reject", "refuse",
        "kill_worker", "disk_fails",
    )  # fmt: skip
    return Fault(
        at=_time(rng, span),
        kind=kind,
        worker=rng.randrange(workers),
        seconds=_time(rng, rng.choice((1.0, 5.0, 30.0))) if lasting else 0.0,
        choice=rng.getrandbits(16),
    )


def _network(rng: random.Random, chaos: float) -> Network:
    if not chaos:
        return Network(delay=0.001)
    return Network(
        delay=rng.choice((0.0, 0.01, 0.3)),
        jitter=rng.choice((0.0, 0.01, 0.5)),
        split_share=rng.choice((0.0, 0.2)),
        bytes_per_second=rng.choice((None, None, None, 2000.0)),
        cut_share=rng.choice((0.0, 0.1, 0.4)) * chaos,
        duplicate_share=rng.choice((0.0, 0.2)) * chaos,
        late_share=rng.choice((0.0, 0.2)) * chaos,
        junk_share=rng.choice((0.0, 0.2)) * chaos,
        answers_pings=rng.random() < 0.85,
    )
