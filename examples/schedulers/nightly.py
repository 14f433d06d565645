"""Score a night's rows, by cron, by Airflow or by hand; running it again does no harm.

    python nightly.py model.safetensors 'incoming/2026-11-27/*.csv' scored/2026-11-27.csv

Three steps, each a command of upland with `--json`: look at the model, score the rows, say what was found.
The output has a name of its own for each night, so that a second run finds it and does nothing. The exit code
is that of upland: 0 nothing was flagged, 10 something was, anything else is an error.

As a file of Airflow (3 or later) it is a DAG with the same steps; put it into the folder of DAGs and set the
variables below. Only the standard library and the command `upland` are needed without Airflow.
"""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

UPLAND = os.environ.get("NIGHTLY_UPLAND", "upland").split()
MODEL = os.environ.get("NIGHTLY_MODEL", "model.safetensors")
INCOMING = os.environ.get("NIGHTLY_INCOMING", "incoming/{day}/*.csv")
SCORED = os.environ.get("NIGHTLY_SCORED", "scored/{day}.csv")

FLAGGED, OUTPUT = 10, 3
AGAIN = {70, 129, 130, 143}
"""Exit codes after which another try may succeed: an error inside, or a signal that ended the run."""


class StepError(Exception):
    """A command that failed."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def upland(*arguments):
    """Run a command: its exit code and what it says, as plain data."""
    done = subprocess.run([*UPLAND, *arguments, "--json"], capture_output=True, text=True, check=False)
    if done.returncode not in (0, FLAGGED):
        lines = done.stderr.splitlines() or ["no message"]
        try:
            message = json.loads(lines[-1])["error"]["message"]
        except (ValueError, TypeError, KeyError):
            message = lines[-1]
        raise StepError(done.returncode, message)
    return done.returncode, json.loads(done.stdout)


def check(model):
    """Refuse a model that cannot keep the rate; what it is."""
    _, info = upland("info", model)
    if info["calibration"]["smallest_p"] > 0.05:
        raise StepError(1, f"{model} has too few calibration rows: calibrate it on more")
    return {"detector": info["detector"], "rows": info["rows"]}


def score(model, data, output):
    """Score the rows of a night, once: how many are flagged of how many."""
    target, report = Path(output), Path(f"{output}.json")
    if target.exists() and report.exists():
        return json.loads(report.read_text(encoding="utf-8"))
    target.parent.mkdir(parents=True, exist_ok=True)
    _, found = upland("score", model, data, "-o", output, "--overwrite", "--wait", "600")
    summary = {"rows": found["rows"], "flagged": found["flagged"], "output": output}
    unfinished = report.with_name(report.name + ".part")
    unfinished.write_text(json.dumps(summary), encoding="utf-8")
    unfinished.replace(report)  # whole or not at all
    return summary


def report(summary):
    """Say what was found; put a message to your own people here."""
    text = "{flagged} of {rows} rows are flagged in {output}".format(**summary)
    print(text)
    return text


def main(model, data, output):
    """All steps, one after the other: the exit code."""
    try:
        check(model)
        summary = score(model, data, output)
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    report(summary)
    return FLAGGED if summary["flagged"] else 0


def nightly_dag():
    """The same steps as a DAG of Airflow, or None where Airflow is not installed."""
    try:
        from airflow.sdk import dag, task
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:
        return None

    def step(function, *arguments):
        try:
            return function(*arguments)
        except StepError as error:
            if error.code in AGAIN:
                raise  # Airflow tries again
            raise AirflowFailException(str(error)) from error

    @task
    def check_model():
        return step(check, MODEL)

    @task(retries=3)
    def score_rows(info, ds=None):
        day = ds or date.today().isoformat()
        return step(score, MODEL, INCOMING.format(day=day), SCORED.format(day=day))

    @task
    def report_flagged(summary):
        return report(summary)

    @dag(schedule="0 3 * * *", catchup=False, max_active_runs=1)
    def nightly():
        report_flagged(score_rows(check_model()))

    return nightly()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.stderr.write("usage: python nightly.py MODEL DATA OUTPUT\n")
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))

DAG = nightly_dag()
