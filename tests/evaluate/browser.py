"""A headless Chromium, driven through the HTTP interface of its driver (W3C WebDriver)."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
ENTER, TAB, SPACE = "\ue007", "\ue004", " "
PATIENCE = 30


def programs() -> tuple[str, str] | None:
    """The browser and its driver, where both are installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self.session = session

    def do(self, method: str, path: str, **body: Any) -> Any:
        return call(method, f"{self.session}/{path}", body if method == "POST" else None)

    def open(self, page: Path) -> None:
        self.do("POST", "url", url=page.resolve().as_uri())

    def js(self, script: str, *args: Any) -> Any:
        return self.do("POST", "execute/sync", script=script, args=list(args))

    def cdp(self, command: str, **params: Any) -> Any:
        return self.do("POST", "goog/cdp/execute", cmd=command, params=params)

    def resize(self, width: int, height: int = 900) -> None:
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        found = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", features=found)

    def click(self, selector: str) -> None:
        (element,) = self.do("POST", "element", using="css selector", value=selector).values()
        self.do("POST", f"element/{element}/click")

    def type(self, text: str) -> None:
        """Press the keys of a text one after the other, wherever the focus is."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.do("POST", "actions", actions=[{"type": "key", "id": "keys", "actions": keys}])

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What the `browser` said on its console, or `performance`, its events, since the last call."""
        return self.do("POST", "se/log", type=kind)

    def requests(self) -> list[str]:
        """The addresses it asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def shot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.do("GET", "screenshot")))


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in that folder."""
    found = programs()
    assert found is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    driver = subprocess.Popen([found[1], f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = f"http://127.0.0.1:{port}"
    try:
        _await(root, driver)
        options = {"binary": found[0], "args": [*FLAGS, f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        made = call("POST", f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})
        browser = Browser(f"{root}/session/{made['sessionId']}")
        try:
            yield browser
        finally:
            call("DELETE", browser.session)
    finally:
        driver.terminate()
        driver.wait(PATIENCE)


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the driver; an error it reports is raised with its message."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


def _await(root: str, driver: subprocess.Popen[bytes]) -> None:
    for _ in range(PATIENCE * 10):
        try:
            if call("GET", f"{root}/status")["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            assert driver.poll() is None, "the driver ended before it was ready"
        time.sleep(0.1)
    raise AssertionError("the driver was not ready in time")
