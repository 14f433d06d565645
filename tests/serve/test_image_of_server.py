"""The Dockerfile of the server: its steps, carried out without Docker."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

import upland

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
ENDS = 60


def instructions():
    """Each instruction as its name and the rest, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", FILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


STEPS = instructions()


def all_of(name):
    return [rest for step, rest in STEPS if step == name]


def copied():
    """What COPY takes from the source tree, stage by stage, as (sources, target)."""
    words = [rest.split() for rest in all_of("COPY") if not rest.startswith("--from")]
    return [(line[:-1], line[-1]) for line in words]


def environment():
    return dict(word.split("=", 1) for rest in all_of("ENV") for word in shlex.split(rest))


def test_what_is_copied_is_there_and_reaches_docker():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    let_in = [line[1:] for line in rules if line.startswith("!")]
    assert rules[0] == "*"
    for sources, _ in copied():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, rule) for rule in let_in), f".dockerignore keeps {source} out"
    assert set(let_in) == {source for sources, _ in copied() for source in sources}


def test_the_server_runs_without_rights_of_root_and_its_port_is_the_one_that_is_said():
    names = [name for name, _ in STEPS]
    user = all_of("USER")[-1]
    assert user.isdigit()
    assert int(user) > 0
    assert f"--uid {user} " in " ".join(all_of("RUN"))
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")
    assert all_of("EXPOSE") == [environment()["UPLAND_SERVE_PORT"]]


def test_every_variable_is_one_of_an_option():
    done = subprocess.run(
        [sys.executable, "-c", "from upland.cli import main; main()", "serve", "--help"],
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    options = {f"--{name[13:].lower()}" for name in environment() if name.startswith("UPLAND_SERVE_")}
    assert options == {"--host", "--port"}
    assert all(option in done.stdout for option in options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an environment with the wheel that the steps build from what they copy, and no more."""
    folder = tmp_path_factory.mktemp("image")
    source, wheels, home = folder / "source", folder / "wheels", folder / "home"
    source.mkdir()
    for sources, target in copied()[:3]:
        for name in sources:
            into = source / (name if target == "./" else target)
            into.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", str(ROOT / name), str(into)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = all_of("RUN")[0].replace("/wheels", str(wheels)).split()
    assert build[:2] == ["pip", "wheel"]
    subprocess.run([*pip, *build[1:], "--no-build-isolation", "--quiet"], cwd=source, check=True)
    pattern = re.search(r"/wheels/(upland-\S+?\.whl)\)\[([a-z,]+)\]", all_of("RUN")[1])
    (wheel,) = wheels.glob(pattern.group(1))
    assert set(pattern.group(2).split(",")) >= {"serve"}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (here,) = {path for path in sys.path if path.endswith("site-packages")}
    (site / "dependencies.pth").write_text(here)
    install = ["--python", str(home / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, *install, str(wheel)], check=True)
    return home


def test_the_installed_server_is_healthy_writes_nothing_and_ends(installed, tmp_path):
    models, scratch = tmp_path / "models", tmp_path / "tmp"
    models.mkdir()
    scratch.mkdir()
    rows = np.random.default_rng(0).normal(size=(100, 2))
    detector = upland.EnergyDetector(epochs=1, n_nets=1, hidden=[4], random_state=0, progress=False)
    model = models / Path(json.loads(all_of("CMD")[-1])[0]).name
    upland.save(detector.fit(rows), model)
    given = {"UPLAND_SERVE_HOST": "127.0.0.1", "UPLAND_SERVE_PORT": str(free_port()), "TMPDIR": str(scratch)}
    env = {"PATH": f"{installed / 'bin'}:/usr/bin:/bin", "HOME": "/nonexistent", **environment(), **given}
    before = set(installed.rglob("*"))
    command = json.loads(all_of("ENTRYPOINT")[0])
    command[0] = str(installed / "bin" / command[0])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(model)], env=env, cwd=models, stdout=log, stderr=log)
    try:
        assert healthy(process, env), (tmp_path / "log").read_text()
    finally:
        process.terminate()
        status = process.wait(ENDS)
    assert status == 0
    assert set(installed.rglob("*")) == before
    assert [path.name for path in models.iterdir()] == [model.name]
    assert not list(scratch.iterdir())
    assert str(installed) not in (tmp_path / "log").read_text()


def healthy(process, env):
    """Whether the check of the image's health ends well in time, as Docker repeats it."""
    check = json.loads(re.search(r"CMD (\[.*\])$", all_of("HEALTHCHECK")[0]).group(1))
    end = time.monotonic() + ENDS
    while process.poll() is None and time.monotonic() < end:
        program = [sys.executable, *check[1:]]
        if subprocess.run(program, env=env, capture_output=True, check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
