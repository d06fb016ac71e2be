"""Worker: plans one table of addresses and captions, and says what that took. Imports nothing that planning does not.

python -m benchmarks.plan_ours TABLE FOLDER [SNAPSHOT]
"""

import json
import sys
import time
from pathlib import Path

from minimagen.config import CaptionRules, ImageRules, ManifestConfig
from minimagen.sources import manifest

CONFIG = ManifestConfig(
    shard_rows=1000,
    max_bytes=20_000_000,
    min_success=0.0,
    images=ImageRules(
        store_size=64,
        min_side=64,
        max_aspect=3.0,
        max_pixels=16_000_000,
        min_std=2.0,
        animated="reject",
        encoding="jpeg",
    ),
    captions=CaptionRules(min_chars=3, max_chars=512),
    url_column="url",
    caption_column="caption",
    split=None,
    license="unknown",
    lang="en",
)


def main() -> None:
    """Prints seconds and the peak of resident memory as JSON."""
    table, folder, *snapshot = map(Path, sys.argv[1:])
    started, started_cpu = time.monotonic(), time.process_time()
    name = str(*snapshot) if snapshot else "s1"
    jobs = manifest.plan(CONFIG, reads=table, snapshot=name, folder=folder / "raw", state=folder / "state")
    record = {
        "num_shards": len(jobs),
        "total_s": time.monotonic() - started,
        "cpu_s": time.process_time() - started_cpu,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(record))


def peak_mib() -> float:
    """Returns the largest resident memory of this process so far; getrusage would count its parent's too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main()
