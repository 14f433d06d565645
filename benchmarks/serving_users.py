"""Locust users that send single rows to a server without a pause, in a process of their own.

    python -m benchmarks.serving_users URL BODIES CONNECTIONS SECONDS RESULT

BODIES is a file of JSON objects, one a line; RESULT gets the times of requests in milliseconds, how
many there were with those before the count, failures, and CPU seconds of this process.
"""

import gevent.monkey

gevent.monkey.patch_all()

import itertools  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from locust import constant, task  # noqa: E402
from locust.contrib.fasthttp import FastHttpUser  # noqa: E402
from locust.env import Environment  # noqa: E402

JSON = {"content-type": "application/json"}
SPAWN = 500
"""Users that begin a second."""


def main(argv: list[str]) -> int:
    url, bodies, connections, seconds, result = argv
    logging.getLogger("locust").setLevel(logging.ERROR)
    found = run(url, Path(bodies).read_bytes().splitlines(), int(connections), float(seconds))
    Path(result).write_text(json.dumps(found))
    return 0


def run(url: str, bodies: list[bytes], connections: int, seconds: float) -> dict[str, Any]:
    """Send for so many seconds after all users are there."""
    turn = itertools.cycle(bodies)

    class User(FastHttpUser):
        host = url
        wait_time = constant(0)

        @task
        def score(self) -> None:
            self.client.post("/score", data=next(turn), headers=JSON)

    environment = Environment(user_classes=[User])
    times: list[float] = []
    every = itertools.count()
    failed: list[str] = []

    def note(response_time: float, exception: BaseException | None, **_: Any) -> None:
        times.append(response_time)
        next(every)
        if exception is not None:
            failed.append(str(exception))

    environment.events.request.add_listener(note)
    runner = environment.create_local_runner()
    runner.start(connections, spawn_rate=SPAWN)
    runner.spawning_greenlet.join()
    gevent.sleep(1.0)  # what begins slowly is not counted
    times.clear()
    begun, cpu = time.monotonic(), time.process_time()
    gevent.sleep(seconds)
    counted = times.copy()
    taken, cpu = time.monotonic() - begun, time.process_time() - cpu
    runner.quit()
    return {
        "milliseconds": counted,
        "every": next(every),
        "failed": failed,
        "seconds": taken,
        "cpu_seconds": cpu,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
