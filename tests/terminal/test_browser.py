"""`babytui serve`: who gets an answer, and the playground in a headless Chromium."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from babytui import serving
from babytui.serving import local, refused

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "a-secret"


@pytest.mark.parametrize(("host", "origin", "path", "token", "bound", "answered"), [
    ("127.0.0.1:8000", None, "/", "", "127.0.0.1", True),
    ("localhost:8000", "http://localhost:8000", "/ws", "", "127.0.0.1", True),
    ("[::1]:8000", "http://[::1]:8000", "/ws", "", "::1", True),
    ("evil.example:8000", None, "/", "", "127.0.0.1", False),  # a name that was made to point here
    ("127.0.0.1:8001", None, "/", "", "127.0.0.1", False),
    ("127.0.0.1:8000", "http://evil.example", "/ws", "", "127.0.0.1", False),
    ("127.0.0.1:8000", "http://127.0.0.1:9999", "/ws", "", "127.0.0.1", False),
    ("127.0.0.1:8000", "null", "/ws", "", "127.0.0.1", False),
    ("127.0.0.1:8000", "file://127.0.0.1:8000", "/ws", "", "127.0.0.1", False),
    ("nest.example:8000", None, f"/{TOKEN}/", TOKEN, "0.0.0.0", True),
    ("nest.example:8000", "http://nest.example:8000", f"/{TOKEN}/ws", TOKEN, "0.0.0.0", True),
    ("nest.example:8000", "http://evil.example", f"/{TOKEN}/ws", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, "/", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, "/ws", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, f"/{TOKEN}x/", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, f"/{TOKEN[:-1]}/", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, f"/static/{TOKEN}", TOKEN, "0.0.0.0", False),
    ("nest.example:8000", None, "/\udcff/", TOKEN, "0.0.0.0", False),
])
def test_who_gets_an_answer(host, origin, path, token, bound, answered):
    assert (refused(host, origin, path, token, bound, 8000) == "") == answered


def test_which_addresses_only_this_machine_reaches():
    assert all(map(local, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(local, ("0.0.0.0", "::", "192.168.1.2", "nest.example", "", "127.0.0.1.evil.example")))


def test_without_textual_serve_a_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    with pytest.raises(serving.UsageError, match=r"pip install 'babytui\[serve\]'"):
        serving.serve(tmp_path)


# --- the real server --------------------------------------------------------------------------------------------------

@contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[str, str]]:
    """A server on a free port: its address, and what it says."""
    pytest.importorskip("textual_serve")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "BABYTUI_TOUR": "false"}
    log = folder / "serve.log"
    with open(log, "w") as errors:
        process = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "serve", "--port", "0", *words,
                                    "--workspace", str(folder / "nest")], stdout=subprocess.PIPE, stderr=errors,
                                   text=True, env=environment, cwd=folder)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        yield url, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


async def status(url: str, **headers: str) -> int:
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        await response.read()
        return response.status


async def upgraded(url: str, **headers: str) -> int:
    """The status of a websocket's handshake: 101 when it is let in."""
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(url.replace("http:", "ws:"), headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


@pytest.mark.slow
async def test_the_loopback_server_answers_its_own_pages_only(tmp_path):
    with served(tmp_path) as (url, said):
        assert url.startswith("http://127.0.0.1:") and "Warning" not in said
        assert await status(url) == 200
        assert await status(url + "static/js/textual.js") == 200
        assert await status(url, Host="evil.example") == 403
        assert await status(url, Origin="http://evil.example") == 403
        assert await upgraded(url + "ws", Origin="http://evil.example") == 403
        assert await upgraded(url + "ws", Origin="null") == 403
        assert await status(url + "nothing") == 404


@pytest.mark.slow
async def test_every_other_server_wants_its_secret(tmp_path):
    with served(tmp_path, "--host", "0.0.0.0") as (url, said):
        assert "Warning" in said and "not" in said and "encrypted" in said
        url = url.replace("0.0.0.0", "127.0.0.1")
        base, secret = url.rstrip("/").rsplit("/", 1)
        assert len(secret) >= 24
        assert await status(url) == 200 and await status(url + "static/js/textual.js") == 200
        for wrong in ("", "/", "/ws", "/static/js/textual.js", f"/{secret[:-1]}/", f"/{secret}x/", "/x/static/js/x.js"):
            assert await status(base + wrong) == 403, wrong
        assert await upgraded(f"{base}/ws") == 403 and await upgraded(f"{base}/{secret[1:]}/ws") == 403
        assert await upgraded(url + "ws", Origin="http://evil.example") == 403


@pytest.mark.slow
async def test_a_taken_port_is_said(tmp_path):
    with served(tmp_path) as (url, _):
        port = url.rstrip("/").rsplit(":", 1)[1]
        second = subprocess.run([sys.executable, "-P", "-m", "babytui", "serve", "--port", port, "--workspace",
                                 str(tmp_path / "nest")], capture_output=True, text=True, timeout=120, check=False,
                                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)})
    assert second.returncode == 1 and "--host and --port take others" in second.stderr
    assert "Traceback" not in second.stderr


# --- the browser ------------------------------------------------------------------------------------------------------

class Tab:
    """A page of Chromium, driven by its own protocol. `received`: every byte that came through its websockets."""

    def __init__(self, socket: Any):
        self._socket, self._number, self._waiting = socket, 0, {}
        self.received = bytearray()
        self.asked: list[str] = []  # every address that it wanted
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self._socket:
            found = message.json()
            if "id" in found:
                self._waiting.pop(found["id"]).set_result(found.get("result", found))
            elif found["method"] == "Network.webSocketFrameReceived":
                response = found["params"]["response"]
                self.received += base64.b64decode(response["payloadData"]) if response["opcode"] == 2 else b""
            elif found["method"] == "Network.requestWillBeSent":
                self.asked.append(found["params"]["request"]["url"])

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._waiting[self._number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        return await asyncio.wait_for(answer, 60)

    async def value(self, script: str) -> Any:
        return (await self.do("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def wait_for(self, word: bytes, start: int = 0) -> None:
        end = time.monotonic() + 60
        while word not in self.received[start:]:
            assert time.monotonic() < end, f"{word!r} did not come: {bytes(self.received[-500:])!r}"
            await asyncio.sleep(0.05)

    async def key(self, text: str) -> None:
        await self.do("Input.dispatchKeyEvent", type="keyDown", text=text, key=text, unmodifiedText=text)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=text)

    async def picture(self) -> bytes:
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[Tab]:
    aiohttp = pytest.importorskip("aiohttp")
    process = subprocess.Popen([str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                                "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
                                "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--window-size=1400,900",
                                f"--user-data-dir={folder / 'profile'}", "about:blank"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        port_file, end = folder / "profile" / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            assert time.monotonic() < end and process.poll() is None, "Chromium did not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                page = next(one for one in await response.json() if one["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                opened = Tab(socket)
                for domain in ("Page", "Network", "Runtime"):
                    await opened.do(f"{domain}.enable")
                yield opened
                opened._task.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_the_playground_in_a_browser(tmp_path):
    with served(tmp_path, "--secret") as (url, _):
        async with tab(tmp_path) as page:
            await page.do("Emulation.setFocusEmulationEnabled", enabled=True)  # a window that somebody looks at
            await page.do("Page.navigate", url=url)
            await page.wait_for(b"tokens known")
            while "xterm" not in await page.value("document.activeElement.className"):
                await asyncio.sleep(0.05)
            assert await page.value("document.title") == "babytui"
            assert "-first-byte" in await page.value("document.body.className")
            assert await page.value("document.querySelectorAll('.xterm canvas, .xterm-rows').length") > 0
            before = await page.picture()
            start = len(page.received)
            await page.key("Q")
            await page.wait_for(b"Q", start)
            end = time.monotonic() + 60
            while (after := await page.picture()) == before:
                assert time.monotonic() < end, "the key is not on the page"
            Path(os.environ.get("BABYTUI_PICTURE", tmp_path / "browser.png")).write_bytes(after)
            foreign = [one for one in page.asked if not one.startswith((url, "data:", "about:", "blob:"))]
            assert not foreign, "the page asked elsewhere, too"
            base = url.rstrip("/").rsplit("/", 1)[0]
            await page.do("Page.navigate", url=f"{base}/wrong/")
            end = time.monotonic() + 60
            while "lacks the secret" not in (await page.value("document.body && document.body.innerText") or ""):
                assert time.monotonic() < end, "a wrong secret is answered"
                await asyncio.sleep(0.05)
