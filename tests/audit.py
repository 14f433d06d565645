"""Known faults of the pinned packages, by pip-audit: python tests/audit.py ENVIRONMENT constraints.txt

pip-audit has an environment of its own, made here. A package with a known fault fails. Where pip-audit or
what it asks cannot be reached, that is printed, and nothing fails.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

LOCKED = Path(__file__).parent.parent / "requirements" / "audit.txt"
AUDIT = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10")


def audit(environment, constraints):
    """What to print, and the exit code."""
    home = Path(environment)
    python = home / "bin" / "python"
    try:
        if not (home / ".installed").exists():
            venv.create(home, clear=True, with_pip=True)
            pip = (python, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "10")
            run(*pip, "--require-hashes", "--no-deps", "-r", LOCKED).check_returncode()
            (home / ".installed").touch()
        done = run(python, "-m", "pip_audit", "-r", constraints, *AUDIT)
    except subprocess.CalledProcessError as error:
        return f"packages are not audited: {last_line(error.stderr)}", 0
    except subprocess.TimeoutExpired:
        return "packages are not audited: there was no answer in 300 seconds", 0
    return verdict(done.stdout, done.stderr)


def run(*command):
    return subprocess.run(list(map(str, command)), text=True, capture_output=True, check=False, timeout=300)


def last_line(text):
    return (text.strip().splitlines() or ["nothing was written"])[-1]


def verdict(output, errors):
    """What to print about what pip-audit has written, and the exit code."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return f"packages are not audited: {last_line(errors)}", 0
    known = [package for package in packages if "vulns" in package]
    faults = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {fault['fix_versions']}"
        for package in known
        for fault in package["vulns"]
    ]
    if faults:
        return "\n".join(faults), 1
    if not known:
        return f"packages are not audited: none of {len(packages)} is known to what pip-audit asks", 0
    return f"{len(known)} of {len(packages)} packages audited: no known fault", 0


if __name__ == "__main__":
    text, code = audit(*sys.argv[1:])
    print(text)
    raise SystemExit(code)
