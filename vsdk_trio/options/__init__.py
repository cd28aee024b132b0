"""Options of workers and rooms: their fields, checks, texts, and where values come from."""

from .room import RoomOptions
from .worker import Options

__all__ = ["Options", "RoomOptions"]
