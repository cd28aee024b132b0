"""What a LiveKit server and its workers say to each other, as far as a benchmark needs it.

Needs the package `livekit-protocol`, which is not one of ours: import it for that peer only.
"""

from __future__ import annotations

import json

from livekit.protocol import agent

from .dialects import TOKEN, URL, Answer, Told, Update, room_of

WORDS = {
    agent.JobStatus.JS_RUNNING: "running",
    agent.JobStatus.JS_SUCCESS: "completed",
    agent.JobStatus.JS_FAILED: "failed",
}


class LiveKitDialect:
    """Protocol buffers. A worker keeps the job of the offer, so that it has all in it."""

    def welcome(self) -> bytes:
        register = agent.RegisterWorkerResponse(worker_id="measured")
        return _bytes(agent.ServerMessage(register=register))

    def offer(self, job_id: str, *, stay: bool) -> bytes:
        request = agent.AvailabilityRequest(job=_job(job_id, stay=stay))
        return _bytes(agent.ServerMessage(availability=request))

    def assignment(self, job_id: str, *, stay: bool) -> bytes:
        given = agent.JobAssignment(job=_job(job_id, stay=stay), url=URL, token=TOKEN)
        return _bytes(agent.ServerMessage(assignment=given))

    def read(self, message: str | bytes) -> Told:
        frame = agent.WorkerMessage.FromString(message)
        match frame.WhichOneof("message"):
            case "availability":
                return Answer(frame.availability.job_id, frame.availability.available)
            case "update_job":
                return Update(frame.update_job.job_id, WORDS[frame.update_job.status])
        return None


def _job(job_id: str, *, stay: bool) -> agent.Job:
    job = agent.Job(id=job_id, type=agent.JobType.JT_ROOM, agent_name="benchmark")
    job.room.name = job.room.sid = room_of(job_id)
    job.metadata = json.dumps({"job_id": job_id, "stay": stay})
    return job


def _bytes(message: agent.ServerMessage) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded
