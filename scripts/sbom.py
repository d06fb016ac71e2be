"""Prints a bill of materials of requirements.lock in CycloneDX 1.6, for tools that look for known holes.

Every package with its version and the SHA-256 of its files; no clock and no name of a machine, so that equal locks give
equal bills. What the lock leaves out is given as arguments: `python scripts/sbom.py torch==2.13.0`.
"""

import json
import re
import sys
from pathlib import Path

LOCK = Path("requirements.lock")


def component(line: str) -> dict[str, object]:
    """Returns what the bill says of one line of the lock, its continuation lines joined."""
    name, _, version = line.split()[0].rstrip(";").partition("==")
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
    marker = re.search(r" ; (.*?) *(?:--hash|$)", line)
    return {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower()}@{version}",
        "bom-ref": f"pkg:pypi/{name.lower()}@{version}",
        "hashes": [{"alg": "SHA-256", "content": one} for one in hashes],
        **({"description": f"only where {marker[1]}"} if marker else {}),
    }


def main() -> None:
    """Prints the bill."""
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "minimagen-pipeline"}},
        "components": [component(line) for line in (*lines, *sys.argv[1:])],
    }
    print(json.dumps(bill, indent=2))


if __name__ == "__main__":
    main()
