"""A server under load, over time and with faults, at the loopback address of this machine.

load     single rows from 1 to 256 connections to 1 and 2 workers: requests per second, times, and the CPU
         time of server and generator (Locust) a request, which another process on the machine changes
         little; beside servers that answer a constant. `per_second_of_two_cores` is what these CPU times
         allow on two cores that do nothing else
bodies   rows per CPU second for bodies of JSON, CSV, Arrow and Parquet, beside `assess` in one process
soak     memory of a server under mixed requests, errors and reloads: its slope an hour
faults   a worker killed, SIGTERM, slow and half-open requests, garbage, 1,000 connections, a full queue,
         reloads, a damaged model file, a full disk: requests sent, answered and lost, seconds to the end

python -m benchmarks.serving --parts load bodies --output benchmarks/results/serving.json
"""

from __future__ import annotations

import sys

from benchmarks.options import command
from benchmarks.serving_faults import faults
from benchmarks.serving_load import BODY_ROWS, bodies, load
from benchmarks.serving_soak import soak
from benchmarks.timing import Part, run_parts

PARTS: dict[str, Part] = {"load": load, "bodies": bodies, "soak": soak, "faults": faults}
QUICK = {
    "connections": [8],
    "workers": [1],
    "seconds": 2.0,
    "repeats": 1,
    "body_rows": [1000],
    "minutes": 0.25,
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8, 32, 64, 128, 256])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--repeats", type=int, default=5, help="of each body")
    parser.add_argument("--body-rows", nargs="+", type=int, default=list(BODY_ROWS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    return run_parts(parser, argv, "serving", PARTS, QUICK)


if __name__ == "__main__":
    sys.exit(main())
