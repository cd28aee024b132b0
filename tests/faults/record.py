"""What is known of the jobs of a soak from three sides, and whether it is one story.

The worker's log says which jobs it took, the jobs' notes what each of them did, and the registry's
record what it was told. Pure but for the reading of the files.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

# What a job noted last before its end, and what its end must then be: status, and in the error.
TRUTH: dict[str, tuple[str, str]] = {
    "returned": ("completed", ""),
    "raised": ("failed", "ValueError: the agent has a bug"),
    "exited": ("failed", "exited with code 7"),
    "crashed": ("failed", "killed by SIGSEGV"),
    "cancelled": ("cancelled", "terminated: "),
}
KILLED = ("failed", "killed by SIGKILL")

End = tuple[str, str]


@attrs.define
class Tail:
    """A file that grows: the lines that were not there the last time."""

    path: Path
    _position: int = 0
    _rest: bytes = b""

    def lines(self) -> Iterator[str]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")


@attrs.define
class Story:
    """One job, from the three sides."""

    accepted: int = 0
    did: list[str] = attrs.field(factory=list)
    ends: list[End] = attrs.field(factory=list)
    pid: int | None = None

    def breaches(self, killed: set[int]) -> list[str]:
        """What is wrong with it; `killed`, the processes that the soak has killed."""
        found = []
        if self.accepted != 1:
            found.append(f"accepted {self.accepted} times")
        if self.did.count("entered") > 1:
            found.append("ran twice")
        if self.did.count("callback") > 1:
            found.append("ran its callback twice")
        if not self.ends:
            found.append("has no end")
        elif len(set(self.ends)) > 1:
            found.append(f"has ended differently: {self.ends}")
        elif not self._is_true(self.ends[0], killed):
            found.append(f"did {self.did}, was said to have ended {self.ends[0]}")
        return found

    def _is_true(self, end: End, killed: set[int]) -> bool:
        status, error = end
        # It may also have been killed after its last word, or before the job could note anything.
        if (self.pid is None or self.pid in killed) and status == KILLED[0] and KILLED[1] in error:
            return True
        if self.pid is None:  # stopped before it began, or before it could note anything
            is_true = status == "cancelled" or (status == "failed" and "had not begun" in error)
            return is_true and TRUTH["cancelled"][1] in error
        deeds = [deed for deed in self.did if deed in TRUTH]
        if len(deeds) != 1:
            # Stopped between two awaits of its own: before it slept, or in `connect`.
            return not deeds and status == "cancelled" and TRUTH["cancelled"][1] in error
        true_status, true_error = TRUTH[deeds[0]]
        return status == true_status and (true_error in error if true_error else not error)


@attrs.define
class Record:
    """All jobs of a soak; `read` takes in what is new."""

    worker_log: Tail
    notes: Tail
    frames: Tail
    stories: dict[str, Story] = attrs.field(factory=lambda: defaultdict(Story))
    registrations: int = 0
    updates: int = 0

    def read(self) -> None:
        for line in self.worker_log.lines():
            if ": job accepted" in line:
                self.stories[_field(line, "job_id")].accepted += 1
        for line in self.notes.lines():
            job_id, deed, *rest = line.split()
            story = self.stories[job_id]
            story.did.append(deed)
            if rest:
                story.pid = int(rest[0])
        for line in self.frames.lines():
            self._take(json.loads(line))

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["from"] == "registry":
            self.registrations += frame["type"] == "register"
        elif frame["type"] == "job_update":
            self.updates += 1
            status, error = frame["status"], frame.get("error") or ""
            if status != "running":
                word = "cancelled" if status == "completed" and error else status
                self.stories[frame["job_id"]].ends.append((word, error))

    @property
    def accepted(self) -> int:
        return sum(1 for story in self.stories.values() if story.accepted)

    @property
    def unended(self) -> list[str]:
        """The jobs that were taken and whose end was not told yet."""
        return [job_id for job_id, s in self.stories.items() if s.accepted and not s.ends]

    def breaches(self, killed: set[int]) -> list[str]:
        """Every job whose story does not hold together, in words."""
        return [
            f"job {job_id} {breach}"
            for job_id, story in self.stories.items()
            for breach in story.breaches(killed)
        ]

    def ends(self) -> Counter[str]:
        """How many jobs have ended how."""
        return Counter(story.ends[0][0] for story in self.stories.values() if story.ends)


def _field(line: str, name: str) -> str:
    return line.partition(f" {name}=")[2].partition(" ")[0].strip()
