"""Every target, by name."""

from __future__ import annotations

from . import addresses, codec, control, journal, peers, registry

TARGETS = {
    target.name: target
    for module in (codec, control, addresses, peers, registry, journal)
    for target in module.TARGETS
}
