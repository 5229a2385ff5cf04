"""Chromium without a window, which does what a person does: through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from websockets.sync.client import connect

OPTIONS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0
"""

PLACE = """
(() => {
  const found = [...document.querySelectorAll('*')].filter(
    one => one.matches(%s) && one.innerText?.trim() === %s && one.checkVisibility());
  if (!found.length) return null;
  const last = found.at(-1);
  last.scrollIntoView({block: 'center', behavior: 'instant'});
  const box = last.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""
"""The middle of the innermost, or the last, element that is seen and has this text."""


class Chromium:
    """One page; as a context manager, it ends with the block.

    Parameters
    ----------
    folder
        An empty one, for its profile.
    width, height
        Of the window (pixels).
    """

    def __init__(self, folder: Path, width: int = 1200, height: int = 1100) -> None:
        size = f"--window-size={width},{height}"
        self._process = subprocess.Popen(
            ["chromium", *OPTIONS.split(), f"--user-data-dir={folder}", size, "about:blank"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        port, end = folder / "DevToolsActivePort", time.monotonic() + 60
        while not port.exists() or not port.read_text().strip():
            if time.monotonic() > end:
                raise SystemExit("Chromium does not start.")
            time.sleep(0.1)
        pages = httpx.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json").json()
        [page] = [one for one in pages if one["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._numbers = count()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.call("Browser.close")
        self._process.wait(30)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def ask(self, code: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, code: str, seconds: float = 60) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.ask(code)):
            if time.monotonic() > end:
                page = self.ask("document.body?.innerText")
                raise SystemExit(f"Not on the page after {seconds:g} s: {code}\n{page}")
            time.sleep(0.1)
        return value

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def see(self, text: str, seconds: float = 60) -> str:
        """Wait until the page has a text; return all of the page's."""
        self.wait(f"document.body?.innerText.includes({json.dumps(text)})", seconds)
        return str(self.ask("document.body.innerText"))

    def click(self, text: str, kind: str = "*", seconds: float = 60) -> None:
        """Click on what has a text, such as a button, with the mouse."""
        code = PLACE % (json.dumps(kind), json.dumps(text))
        self.wait(code, seconds)
        time.sleep(0.3)  # while what has just come moves to its place
        x, y = self.wait(code, seconds)
        for what in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def write(self, text: str) -> None:
        """Type into the field that was clicked."""
        self.call("Input.insertText", text=text)

    def picture(self, file: Path, height: int, left: int = 256) -> None:
        """Save the upper part of the page, without what is on the left, such as a menu."""
        width = self.ask("window.innerWidth")
        clip = {"x": left, "y": 0, "width": width - left, "height": height, "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", clip=clip)
        file.write_bytes(base64.b64decode(taken["data"]))
