"""Read by tox before it looks for interpreters: those that version managers keep off PATH count.

A manager's own `python3.12` on PATH starts only the versions that are switched on. What is found
here comes last on PATH, so that it hides nothing. What `uv` has installed, tox finds by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

HOME = Path.home()
ROOTS = (
    Path(os.environ.get("PYENV_ROOT") or HOME / ".pyenv") / "versions",
    Path(os.environ.get("ASDF_DATA_DIR") or HOME / ".asdf") / "installs" / "python",
    Path(os.environ.get("MISE_DATA_DIR") or HOME / ".local" / "share" / "mise")
    / "installs"
    / "python",
)

found = [str(path) for root in ROOTS for path in sorted(root.glob("3.*/bin"), reverse=True)]
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *found])
