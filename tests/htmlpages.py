"""Pages of HTML: what a parser finds in them, and what a browser makes of them."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "input", "img", "br", "link", "rect", "path"}


class Parsed(HTMLParser):
    """Elements, attributes, texts and embedded JSON of a page.

    Args:
        page: The whole file.
    """

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts, self.json, self.scripts = [], [], [], [], []
        self._open, self._in_script = [], None
        self.feed(page)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self._in_script = dict(attrs).get("type", "script")
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open[-1:] == [tag], f"</{tag}> closes {self._open[-3:]}"
        self._open.pop()
        if tag == "script":
            if self._in_script == "application/json":
                self.json.append(json.loads(self.scripts.pop()))
            self._in_script = None

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)

    @property
    def shape(self):
        """Elements and names of attributes, in order: what no data may change."""
        return self.elements, [(tag, name) for tag, name, _ in self.attributes]


def check_page(page):
    """A page that is whole, asks nobody for anything and allows only its own scripts; what is in it."""
    found = Parsed(page)
    policy = next(
        value for tag, name, value in found.attributes if tag == "meta" and "default-src" in (value or "")
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    for script in found.scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
            assert re.match(r"#[a-z0-9]+$|data:image/png;base64,", value), (tag, name, value)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return found


def in_browser(page, folder, script="", width=1280, height=4000):
    """The document that a browser has made of a page, and the attributes of its root.

    Args:
        page: The whole file.
        folder: For it and for the browser's profile.
        script: Runs in the page once all charts are drawn; the page's policy gives way to it.
        width: Of the window.
        height: Likewise.
    """
    if BROWSER is None:
        pytest.skip("needs Chromium, which pip cannot install")
    if script:
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        run = (
            "(function wait(){const d=document.documentElement.dataset;"
            f"if(d.drawn!==d.charts&&!d.errors)return setTimeout(wait,20);{script}}})();"
        )
        start, _, end = page.rpartition("</body>")  # Vega's own script has such words
        page = f"{start}<script>{run}</script></body>{end}"
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=10000"]
    options += [f"--window-size={width},{height}", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run([BROWSER, *options, file.as_uri()], capture_output=True, timeout=120, check=True)
    document = done.stdout.decode("utf-8", "replace")
    root = document[document.index("<html") : document.index("<head")]
    return document, dict(re.findall(r'data-([a-z-]+)="([^"]*)"', root))
