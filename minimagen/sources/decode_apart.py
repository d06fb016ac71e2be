"""Decodes one picture in a process of its own, which may die of it: for one that may have ended a process before.

    python -m minimagen.sources.decode_apart RULES < FILE

answers with a line of JSON and, if the picture is good, with what is stored. Knows no network and no shard.
"""

import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from minimagen.config import ImageRules
from minimagen.rows import Rejection
from minimagen.sources.images import NormalisedImage, normalise_image

CPU_S = 60
MEMORY_BYTES = 2**30
"""Beside what the process has when it begins to decode."""
_STATM = Path("/proc/self/statm")


def decode_apart(raw: bytes, rules: ImageRules, max_decode_bytes: int) -> NormalisedImage | Rejection | None:
    """Returns what ``normalise_image`` does, or that the picture is undecodable if the process dies of it.

    None if the process was killed from outside, so that nothing is known of the picture.

    Raises:
        RuntimeError: the process did not work at all.
    """
    command = [sys.executable, "-m", "minimagen.sources.decode_apart", rules.model_dump_json(), str(max_decode_bytes)]
    process = subprocess.run(command, input=raw, capture_output=True, check=False)
    if process.returncode == -signal.SIGKILL:
        return None
    if process.returncode < 0:
        return Rejection("undecodable", f"the decoder dies of it: {signal.Signals(-process.returncode).name}")
    if process.returncode > 0:
        raise RuntimeError(f"{' '.join(command[:3])}: {process.stderr.decode(errors='replace')[-500:]}")
    line, _, content = process.stdout.partition(b"\n")
    record = json.loads(line)
    return Rejection(**record) if "reason" in record else NormalisedImage(content=content, **record)


def main() -> None:
    """Decodes standard input, within limits of time and memory that the kernel keeps."""
    rules, max_decode_bytes = ImageRules.model_validate_json(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    if _STATM.exists():
        has_bytes = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has_bytes + MEMORY_BYTES, has_bytes + MEMORY_BYTES))
    outcome = normalise_image(sys.stdin.buffer.read(), rules, max_decode_bytes=max_decode_bytes)
    record = asdict(outcome)
    content = record.pop("content", b"")
    sys.stdout.buffer.write(json.dumps(record).encode() + b"\n" + content)


if __name__ == "__main__":
    main()
