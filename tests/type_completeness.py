"""`python -m tests.type_completeness`: how much of the public interface has types that users see.

pyright counts each public symbol whose type a user's type checker knows without guessing.
"""

from __future__ import annotations

import json
import subprocess
import sys

FLOOR = 0.93
COMMAND = ("pyright", "--verifytypes", "vsdk_trio", "--ignoreexternal", "--outputjson")


def main() -> int:
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    score: float = found["typeCompleteness"]["completenessScore"]
    print(f"type completeness {score:.1%}, at least {FLOOR:.0%}")
    if score >= FLOOR:
        return 0
    for diagnostic in found["generalDiagnostics"]:
        place = diagnostic.get("range", {}).get("start", {}).get("line", 0) + 1
        print(f"{diagnostic.get('file', '')}:{place}: {diagnostic['message']}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
