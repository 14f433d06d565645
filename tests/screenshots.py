"""Screenshots of a page in headless Chromium, light and dark, wide and narrow, for the eyes of a developer:

    python tests/screenshots.py report.html shots/

writes `shots/report-wide-light.png` and three more, says what the page wrote to its console, and exits with 1
where it failed or is wider than the window. Chromium is driven by its DevTools protocol through two pipes.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

WIDTHS = {"wide": 1280, "narrow": 390}
VIEWS = [(size, scheme) for size in WIDTHS for scheme in ("light", "dark")]
TALLEST = 16_000
"""Pixels of a screenshot; what is below is cut off."""

SECONDS = 60
"""For any answer."""

TURNS = 200
"""So often, twenty times a second, it is seen whether all charts are drawn."""

_PIPES = """
import fcntl, os, sys
reading, writing = (fcntl.fcntl(int(it), fcntl.F_DUPFD, 10) for it in sys.argv[1:3])
os.dup2(reading, 3)
os.dup2(writing, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
_DRAWN = """
for (const part of document.querySelectorAll('details')) part.open = true;
const all = () => [...document.querySelectorAll('[data-spec]')].every(place => place.querySelector('svg'));
(async () => {
  for (let turn = 0; turn < %d && !all(); turn += 1) await new Promise(done => setTimeout(done, 50));
  await new Promise(done => setTimeout(done, 200));
  return all();
})()
"""


def _said(text):
    """A message of the browser that complains."""
    return {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": text}}}


def chromium():
    """The program; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A running Chromium with one blank page.

    Args:
        reading: The descriptor that answers come from.
        writing: The descriptor that commands go to.
    """

    def __init__(self, reading, writing):
        self.reading, self.writing = reading, writing
        self.held, self.number, self.events = b"", 0, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    session = None

    def ask(self, method, **params):
        """The result of a command; what the page tells meanwhile is kept in `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self.number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def evaluate(self, expression):
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, path, width, scheme):
        """Load a file into a window of a width, all that folds opened."""
        self.events.clear()
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=media)
        self.resize(width, 900)
        self.ask("Page.navigate", url=Path(path).resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        if not self.evaluate(_DRAWN % TURNS):
            self.events.append(_said("not every chart is drawn"))

    def resize(self, width, height):
        """Give the window a size."""
        narrow = width < 600
        self.ask(
            *("Emulation.setDeviceMetricsOverride",),
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow},
        )

    def shot(self):
        """The whole page as the bytes of a PNG file."""
        width, height = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST), "scale": 1}
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])

    def complaints(self):
        """What went wrong in the page: exceptions, errors of the console, anything asked of a network, parts
        that stand out to the right.
        """
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(" ".join(str(part.get("value")) for part in params["args"]))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"])
            elif event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                found += [] if url.startswith(("file:", "data:", "blob:")) else [f"asked for {url}"]
        found += (self.evaluate("document.documentElement.dataset.errors") or "").split("\n")[:-1]
        inner, outer = self.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        found += [f"the page is {outer} pixels wide in a window of {inner}"] if outer > inner else []
        return found

    def _next(self):
        """The next message."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self.held:
            ready, _, _ = select.select([self.reading], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self.reading, 1 << 20)
            assert part, "Chromium has ended"
            self.held += part
        message, _, self.held = self.held.partition(b"\0")
        return json.loads(message)


@contextmanager
def browsing():
    """A `Browser`, which is ended at the end."""
    program = chromium()
    assert program is not None, "there is no Chromium"
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "--force-color-profile=srgb"]
        started = [sys.executable, "-c", _PIPES, str(theirs_in), str(theirs_out), program, *flags]
        process = subprocess.Popen(
            started, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            browser = Browser(ours_in, ours_out)
            yield browser
            browser.session = None
            browser.ask("Browser.close")
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            os.close(ours_in)
            os.close(ours_out)


def screenshots(page, folder):
    """Write four screenshots of a page; returns what it complains of, by screenshot."""
    found = {}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with browsing() as browser:
        for size, scheme in VIEWS:
            path = folder / f"{Path(page).stem}-{size}-{scheme}.png"
            browser.open(page, WIDTHS[size], scheme)
            path.write_bytes(browser.shot())
            found[path.name] = browser.complaints()
    return found


if __name__ == "__main__":
    wrong = screenshots(sys.argv[1], sys.argv[2])
    for name, lines in wrong.items():
        print(name, *(f"\n  {line}" for line in lines))
    sys.exit(1 if any(wrong.values()) else 0)
