"""What other processes bring: the main job (shipped checkpoints, suite `paper`) here and on `local:N`, without a cache.

    python benchmarks/bench_executors.py [--workers 2] [--checkpoints 8]

Prints the time of both and their ratio, in turns, so that both see the same load. On two idle cores the goal is 1.7.
Processes start anew in each turn: their start (importing torch) is in their time. The caller's peak memory is printed
for two numbers of checkpoints: it must not grow with them, but for the results themselves.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

ONE = """
import resource, sys
import probekit
from probekit import models
count, executor = int(sys.argv[1]), sys.argv[2] or None
names = [f"shipped:{name}" for name in models.shipped()][:count]
probekit.compare(names, "paper", "own", executor=executor)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def timed(count: int, executor: str) -> tuple[float, int]:
    """Seconds and the caller's peak memory in MB of one comparison in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"PROBEKIT_CACHE": scratch, "PROBEKIT_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
        before = time.perf_counter()
        command = [sys.executable, "-c", ONE, str(count), executor]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return time.perf_counter() - before, int(done.stdout.split()[-1])


def main() -> None:
    """Run both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    local = f"local:{asked.workers}"
    print(f"{asked.checkpoints} checkpoints, suite paper; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for turn in range(asked.turns):
        here, _ = timed(asked.checkpoints, "")
        there, memory = timed(asked.checkpoints, local)
        print(
            f"turn {turn + 1}: here {here:.1f} s, {local} {there:.1f} s: {here / there:.2f} times as fast", flush=True
        )
    _, few = timed(2, local)
    print(f"caller's peak memory: {few} MB with 2 checkpoints, {memory} MB with {asked.checkpoints}")


if __name__ == "__main__":
    main()
