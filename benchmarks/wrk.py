"""A closed loop by wrk (https://github.com/wg/wrk), where it is installed: in C, it leaves the cores to the server."""

import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Load

WRK = shutil.which("wrk")
_SHARES = (50, 95, 99)
_SCRIPT = """
local requests, place = {}, %(skip)d
for name in io.lines("%(list)s") do
  local file = io.open(name, "rb")
  requests[#requests + 1] = file:read("*a")
  file:close()
end
request = function()
  place = place + 1
  return requests[(place - 1) %% #requests + 1]
end
done = function(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('\\nFIGURES {"answers": %%d, "microseconds": %%d, "status": %%d, "socket": %%d, ',
    summary.requests, summary.duration, errors.status, broken))
  io.write('"quantiles": [')
  for share = 1, 100 do
    io.write(string.format("%%s%%d", share > 1 and ", " or "", latency:percentile(math.min(share, 99.99))))
  end
  io.write("]}\\n")
end
"""


def closed_loop_by_wrk(
    port: int, requests: Sequence[bytes], clients: int, seconds: float, skip: int = 0
) -> Load:
    """Ask as `load.closed_loop` does. Of the latencies only the percentiles are known: each stands for 1 % of them."""
    assert WRK is not None
    with tempfile.TemporaryDirectory(prefix="wrk-") as scratch:
        folder = Path(scratch)
        names = []
        for number, request in enumerate(requests):
            (folder / f"{number}.http").write_bytes(request)
            names.append(str(folder / f"{number}.http"))
        (folder / "list.txt").write_text("\n".join(names) + "\n", "utf-8")
        script = folder / "script.lua"
        script.write_text(_SCRIPT % {"skip": skip % len(requests), "list": folder / "list.txt"}, "utf-8")
        command = [WRK, "-t", "1", "-c", str(clients), "-d", f"{max(1, round(seconds))}s", "--timeout", "60s"]
        command += ["-s", str(script), f"http://127.0.0.1:{port}/"]
        used, started = _children(), time.perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90, check=False)
        share = (_children() - used) / (time.perf_counter() - started)
    return load_of(finished.stdout + finished.stderr, share)


def load_of(printed: str, client_share: float) -> Load:
    """Read what the script has printed.

    Raises:
        RuntimeError: there are no figures in it.
    """
    line = next((line for line in printed.splitlines() if line.startswith("FIGURES ")), None)
    if line is None:
        raise RuntimeError(f"wrk measured nothing: {' '.join(printed.split())[:200]}")
    figures = json.loads(line.removeprefix("FIGURES "))
    right = figures["answers"] - figures["status"]
    quantiles = [microseconds / 1e6 for microseconds in figures["quantiles"]]
    latencies = [quantiles[min(99, index * 100 // right)] for index in range(right)]
    failures = Counter({"status": figures["status"], "socket": figures["socket"]})
    return Load(figures["microseconds"] / 1e6, latencies, +failures, client_share)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
