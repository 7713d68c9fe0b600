"""What other processes bring: the main job (shipped checkpoints, suite `paper`) here and on `local:N`, without a cache.

    python benchmarks/bench_executors.py [--workers 2] [--checkpoints 8] [--suite paper]

Prints the time of both and their ratio, in turns, so that both see the same load. On two idle cores the goal is 1.7.
Processes start anew in each turn: their start (importing torch) is in their time, and each makes its own image sets. So
few checkpoints or a short suite show less than many. Peak memory is printed for two numbers of checkpoints, of the
caller of an executor and of one process that measures: neither must grow with them, but for the results themselves.
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
probekit.compare(names, sys.argv[3], "own", executor=executor)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def timed(count: int, executor: str, suite: str) -> tuple[float, int]:
    """Seconds and the calling process's peak memory in MB of one comparison in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"PROBEKIT_CACHE": scratch, "PROBEKIT_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
        before = time.perf_counter()
        command = [sys.executable, "-c", ONE, str(count), executor, suite]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return time.perf_counter() - before, int(done.stdout.split()[-1])


def main() -> None:
    """Run both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--suite", default="paper", help="a shorter one tries the benchmark itself")
    asked = parser.parse_args()
    local = f"local:{asked.workers}"
    print(
        f"{asked.checkpoints} checkpoints, suite {asked.suite}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for turn in range(asked.turns):
        here, working = timed(asked.checkpoints, "", asked.suite)
        there, calling = timed(asked.checkpoints, local, asked.suite)
        print(
            f"turn {turn + 1}: here {here:.1f} s, {local} {there:.1f} s: {here / there:.2f} times as fast", flush=True
        )
    for who, executor, many in (("one process", "", working), (f"the caller of {local}", local, calling)):
        _, few = timed(1, executor, asked.suite)
        print(f"peak memory of {who}: {few} MB with 1 checkpoint, {many} MB with {asked.checkpoints}: {many / few:.2f}")


if __name__ == "__main__":
    main()
