"""Drive Debian's Chromium without a driver, a port or a dependency: DevTools messages over two pipes.

`--remote-debugging-pipe` makes the browser read commands from file descriptor 3 and write answers and events to 4, as
JSON separated by NUL. That is all that these tests need, and nothing on the machine can collide with it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip


class NoBrowser(Exception):
    """There is no browser that can be driven."""


class Browser:
    """One headless browser; `page()` opens a tab."""

    def __init__(self) -> None:
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if binary is None:
            raise NoBrowser("Chromium is needed for the browser tests: apt-get install chromium")
        self.binary = binary
        self.profile = tempfile.mkdtemp(prefix="browser-")
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def wire() -> None:  # in the child: the browser expects exactly 3 and 4; park both ends out of the way first
            os.dup2(to_browser, 103)
            os.dup2(from_browser, 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self.process = subprocess.Popen(
            [binary, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, *, timeout: float = 240, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for answer in self.receive(deadline - time.monotonic()):
                if answer.get("id") == self.number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return dict(answer["result"])
                self.events.append(answer)
        raise TimeoutError(f"{method}: no answer within {timeout} s")

    def receive(self, wait: float) -> list[dict[str, Any]]:
        ready, _, _ = select.select([self.read_end], [], [], max(wait, 0))
        if ready:
            read = os.read(self.read_end, 1 << 20)
            if not read:
                raise NoBrowser(f"{self.binary} ended. Install Chromium: apt-get install chromium")
            self.buffer += read
        *whole, self.buffer = self.buffer.split(b"\0")
        return [json.loads(part) for part in whole]

    def page(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> Page:
        return Page(self, path, width, height, dark=dark)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self.write_end)
        os.close(self.read_end)
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """A tab showing a file, after its charts are drawn."""

    def __init__(self, browser: Browser, path: Path, width: int, height: int, *, dark: bool) -> None:
        self.browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width, height)
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && document.documentElement.dataset.drawn === 'yes'")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **params)

    def close(self) -> None:
        self.browser.send("Target.closeTarget", targetId=self.target)

    def resize(self, width: int, height: int = 900) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression (promises are awaited)."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, condition: str, timeout: float = 240) -> None:
        deadline = time.monotonic() + timeout
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {condition}")
            time.sleep(0.05)

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key stroke, as the keyboard sends it."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    @property
    def complaints(self) -> list[str]:
        """Console errors and warnings, uncaught exceptions, and log entries of this tab."""
        found = []
        for event in self.browser.events:
            params = event.get("params", {})
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str([argument.get("value", argument.get("description")) for argument in params["args"]]))
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(str(params["entry"]))
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        sent = [
            e
            for e in self.browser.events
            if e.get("sessionId") == self.session and e["method"] == "Network.requestWillBeSent"
        ]
        return [event["params"]["request"]["url"] for event in sent]

    def screenshot(self, target: Path, *, whole: bool = False) -> Path:
        image = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self.clip(whole))
        target.write_bytes(base64.b64decode(image["data"]))
        return target

    def clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self, target: Path) -> Path:
        target.write_bytes(
            base64.b64decode(self.send("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
        )
        return target


def picture(page: Path, target: Path, width: int = 1280, height: int = 860) -> None:
    """The first screen of a report as a small PNG: the picture of the README."""
    from PIL import Image

    browser = Browser()
    try:
        browser.page(page, width, height).screenshot(target)
    finally:
        browser.close()
    with Image.open(target) as image:
        image.convert("RGB").save(target, optimize=True)


if __name__ == "__main__":
    picture(Path(sys.argv[1]), Path(sys.argv[2]))
