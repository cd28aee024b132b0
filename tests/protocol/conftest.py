"""Hypothesis without deadlines: a busy machine is no bug."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("vsdk_trio", deadline=None)
settings.load_profile("vsdk_trio")
