"""The ways that an alarm leaves the process: a command, or a request to an address.

Each gets the alarm as one JSON document, with a key that is the same whenever the same alarm is sent again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import shlex
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

TIMEOUT = 30.0
"""Seconds that a command may take."""

SILENT = 10.0
"""Seconds that an address may keep silent."""

AGAIN = frozenset({408, 409, 425, 429})
"""Answers below 500 after which the same request may succeed later."""

LONGEST = 300.0
"""Seconds at most between two tries, also where an address asks for more."""

PRIVATE = "UPLAND_WATCH_"
"""What the variables begin with that a command does not get: they hold the options, addresses among them."""


class Failed(Exception):
    """An alarm that was not delivered, or of which that is not known.

    Args:
        reason: Why; it holds no secret.
        again: Whether a further try in this run makes sense.
        after: Seconds to wait before it, where the other side said so.
    """

    def __init__(self, reason: str, again: bool = True, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.after = reason, again, after


class Channel(ABC):
    """A way that alarms are delivered by: abstract.

    Attributes:
        name: What the history and messages call it; it holds no secret.
    """

    name: str

    @abstractmethod
    def send(self, key: str, kind: str, body: bytes) -> None:
        """Deliver an alarm.

        Args:
            key: The same for every try of the same alarm.
            kind: Of the alarm.
            body: The JSON document.

        Raises:
            Failed: It was not delivered, or that is not known.
        """

    @abstractmethod
    def stop(self) -> None:
        """End what is being sent."""


class Command(Channel):
    """A program that is run for each alarm, without a shell: the document comes on its standard input, the
    kind in `UPLAND_ALARM`, the key in `UPLAND_ALARM_KEY`. What it prints goes to standard error.

    Args:
        text: The program and its arguments, quoted as in a shell.
        timeout: Seconds after which it is ended, with all that it started.

    Raises:
        ValueError: There is no such program; the message says what is right.
    """

    def __init__(self, text: str, timeout: float = TIMEOUT) -> None:
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"the command {text!r} has a quote that does not end: {error}") from None
        if not self._words:
            raise ValueError("the command for alarms is empty: name a program")
        if shutil.which(self._words[0]) is None:
            raise ValueError(
                f"there is no program {self._words[0]!r} to run on an alarm: give the path of one; it is not "
                "run by a shell, which \"sh -c '...'\" does"
            )
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self.name = f"command {os.path.basename(self._words[0])} #{_short(text)}"

    def send(self, key: str, kind: str, body: bytes) -> None:
        """See `Channel.send`; an exit code other than 0 is a failure."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
        own |= {"UPLAND_ALARM": kind, "UPLAND_ALARM_KEY": key}
        with self._lock:
            if self._stopped:
                raise Failed("the watch ended")
            try:
                process = subprocess.Popen(
                    self._words, stdin=subprocess.PIPE, stdout=2, env=own, start_new_session=True
                )
            except OSError as error:
                raise Failed(f"it cannot be started: {error.strerror}") from error
            self._process = process
        try:
            process.communicate(body, self._timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise Failed(f"it did not end within {self._timeout:g} seconds") from None
        finally:
            self._process = None
        if process.returncode:
            raise Failed(_ended(process.returncode))

    def stop(self) -> None:
        """See `Channel.stop`."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _end(self._process, wait=False)


class Webhook(Channel):
    """An address that each alarm is sent to by POST, as JSON, with the header `Idempotency-Key`.

    Redirects are not followed, so that the document and the credentials go nowhere else. Proxies are those of
    `http_proxy`, `https_proxy` and `no_proxy`. Certificates are checked.

    Args:
        url: http:// or https://; `user:password@` becomes an Authorization header.
        timeout: Seconds that the other side may keep silent.

    Raises:
        ValueError: It is no such address; the message does not repeat it.
    """

    def __init__(self, url: str, timeout: float = SILENT) -> None:
        parts = _parts(url)
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        self._timeout = timeout
        self._headers = {"Content-Type": "application/json", "User-Agent": "upland"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._opener = urllib.request.build_opener(_NoRedirect)
        self.name = f"webhook {_public(url)} #{_short(url)}"

    def send(self, key: str, kind: str, body: bytes) -> None:
        """See `Channel.send`; an answer of 200 to 299 is a delivery."""
        headers = self._headers | {"Idempotency-Key": key, "Upland-Alarm": kind}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout):
                return
        except urllib.error.HTTPError as answer:
            with answer:
                raise _refused(answer.code, answer.headers) from None
        except urllib.error.URLError as error:
            raise Failed(f"it cannot be reached: {_plain(error.reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"no answer came: {_plain(error)}") from None

    def stop(self) -> None:
        """See `Channel.stop`; a request ends with the process."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """No request follows, so that the answer is an error."""


def _parts(url: str) -> SplitResult:
    """The parts of an address; raises ValueError, which does not repeat it."""
    right = "give http://host/path or https://host/path"
    if any(not " " < sign < "\x7f" for sign in url):
        raise ValueError(f"the webhook's address holds blanks or letters that are not ASCII: {right}")
    try:
        parts = urlsplit(url)
        known, _ = bool(parts.hostname), parts.port
    except ValueError:
        raise ValueError(f"the webhook's address is none: {right}") from None
    if parts.scheme not in ("http", "https") or not known:
        raise ValueError(f"the webhook's address is none of http or https: {right}")
    return parts


def _public(url: str) -> str:
    """What may be said of an address: scheme, host and port; or that it is unknown."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "another address"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "another address"


def _refused(code: int, headers: Message) -> Failed:
    """What an answer that is no delivery means."""
    if 300 <= code < 400:
        where = _public(headers.get("Location") or "")
        return Failed(f"it redirects to {where} ({code}), which is not followed: name that address", False)
    after = headers.get("Retry-After") or ""
    seconds = min(float(after), LONGEST) if after.isdecimal() and len(after) < 9 else None
    return Failed(f"it answered {code}", code >= 500 or code in AGAIN, seconds)


def _plain(error: object) -> str:
    """What went wrong, without an address in it."""
    if isinstance(error, TimeoutError):
        return "it keeps silent"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return type(error).__name__


def _short(text: str) -> str:
    """Eight digits that differ between channels of one host; a secret does not follow from them."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


def _end(process: subprocess.Popen[bytes], wait: bool = True) -> None:
    """End a program with all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    if wait:
        process.communicate()
