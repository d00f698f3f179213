"""The playground in a browser: a page with a terminal, and for each that is opened a process of its own.

Whoever reaches it does what its user could: beyond the loopback device every address has a secret in it, without which
nothing is answered. On loopback, too, a page of another site gets nothing (its Origin is not ours), nor does one whose
name was made to point here (its Host is not ours). What the app shows is guarded as in a terminal.

`python -m babytui.serving WORKSPACE` is one such process, started by the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.errors import RunError, UsageError

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EXTRA = "babytui[serve]"
MISSING = f"textual-serve is not installed; pip install '{EXTRA}' brings it."
MOST = 8  # sessions at once; each is a process with a model
HEADERS = {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
           "Cache-Control": "no-store",
           "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
           "connect-src 'self' {socket}; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
           "form-action 'none'"}
# What textual-serve's script needs, and nothing from anywhere else.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>babytui</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{place}/static/css/xterm.css">
<style>
@font-face {{ font-family: "Roboto Mono"; src: url("{place}/static/fonts/RobotoMono-VariableFont_wght.ttf"); }}
html, body {{ margin: 0; height: 100%; background: #121316; color: #e4e4e4; font: 16px "Roboto Mono", monospace; }}
.textual-terminal {{ height: 100vh; }}
.closed {{ display: none; position: absolute; inset: 0; text-align: center; padding-top: 40vh; background: #121316; }}
body.-closed .closed {{ display: block; }}
a {{ color: #6cb6ff; }}
</style>
<script src="{place}/static/js/textual.js"></script>
<script src="{place}/keys.js"></script>
</head>
<body>
<div class="closed">The playground was left; training runs go on. <a href="{place}/">Open it again</a></div>
<div id="terminal" class="textual-terminal" data-session-websocket-url="{socket}{place}/ws"
     data-font-size="{size}"></div>
</body>
</html>
"""

KEYS = """// Keys go to the terminal as soon as it is there, without a click.
const looking = setInterval(() => {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys) { keys.focus(); clearInterval(looking); }
}, 50);
"""


def local(host: str) -> bool:
    """Whether only this machine reaches an address of this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server_class() -> Any:
    """The server. UsageError when textual-serve is not installed."""
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError as error:
        raise UsageError(MISSING) from error

    class Guarded(Server):
        """textual-serve's, behind a guard, with a page that loads nothing from elsewhere."""

        def __init__(self, command: str, host: str, port: int, token: str):
            super().__init__(command, host, port, title="babytui")
            self.token, self.sessions = token, 0
            self.place = f"/{token}" if token else ""

        async def _make_app(self) -> web.Application:
            @web.middleware
            async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
                if reason := refused(request.host, request.headers.get("Origin"), request.path, self.token, self.host,
                                     self.port):
                    raise web.HTTPForbidden(text=f"{reason}\n")
                return await handler(request)

            app = web.Application(middlewares=[guard])
            app.add_routes([web.get(f"{self.place}/", self.page), web.get(f"{self.place}/ws", self.session),
                            web.get(f"{self.place}/keys.js", self.keys),
                            web.get(f"{self.place}/download/{{key}}", self.handle_download, name="download"),
                            web.static(f"{self.place}/static", self.statics_path, name="static")])
            return app

        async def page(self, request: web.Request) -> web.Response:
            size = request.query.get("fontsize", "")
            size = size if size.isascii() and size.isdigit() and 6 <= int(size) <= 64 else "16"
            socket = ("wss://" if request.secure else "ws://") + request.host
            headers = {name: value.replace("{socket}", socket) for name, value in HEADERS.items()}
            return web.Response(text=PAGE.format(place=self.place, socket=socket, size=size),
                                content_type="text/html", headers=headers)

        async def keys(self, request: web.Request) -> web.Response:
            return web.Response(text=KEYS, content_type="text/javascript")

        async def session(self, request: web.Request) -> web.StreamResponse:
            if self.sessions >= MOST:
                raise web.HTTPServiceUnavailable(text=f"{MOST} are open already; close one of them.\n")
            self.sessions += 1
            try:
                return await self.handle_websocket(request)
            finally:
                self.sessions -= 1

    return Guarded


def refused(host: str, origin: str | None, path: str, token: str, bound: str, port: int) -> str:
    """Why a request gets nothing, or "". host: its Host header; bound, port: where the server listens."""
    if token:
        given = path.split("/")[1] if path.startswith("/") else ""
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            return "The address lacks the secret that `babytui serve` has printed."
    else:
        names = {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]", bound, f"[{bound}]")}
        if host not in names:
            return "This server is for this machine only."
    if origin is not None and not (urlsplit(origin).scheme in ("http", "https") and urlsplit(origin).netloc == host):
        return "The request comes from a page of another site."
    return ""


def serve(workspace: Path, host: str = "127.0.0.1", port: int = 8000, secret: bool = False,
          ready: Callable[[str, bool], None] = lambda url, exposed: None) -> None:
    """Serves until SIGINT or SIGTERM. secret: ask for one on loopback, too. ready is called with the address, and
    whether others than this machine reach it. UsageError without textual-serve, RunError when the port is taken."""
    try:
        host.encode("idna")
    except UnicodeError as error:  # it can be no name of a host
        raise _unusable(host, port, error) from None
    guarded = _server_class()
    exposed = not local(host)
    token = secrets.token_urlsafe(24) if exposed or secret else ""
    command = shlex.join([sys.executable, "-m", "babytui.serving", str(workspace)])
    asyncio.run(_serve(guarded(command, host, port, token), host, port, exposed, ready))


def _unusable(host: str, port: int, why: object) -> RunError:
    return RunError(f"{host}:{port} cannot be used ({why}); --host and --port take others.")


async def _serve(server: Any, host: str, port: int, exposed: bool, ready: Callable[[str, bool], None]) -> None:
    from aiohttp import web

    runner = web.AppRunner(await server._make_app(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise _unusable(host, port, error.strerror or error) from None
        server.port = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        done = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, done.set)
        ready(f"http://{shown}:{server.port}{server.place}/", exposed)
        await done.wait()
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str]) -> int:
    """One session."""
    from babytui.tui import app

    return app.main(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
