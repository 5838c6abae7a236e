"""A Hugging Face hub of a few repositories on this machine, spoken to by the real client through HF_ENDPOINT.

It serves what the client asks for: what is in a repository, its tree, its files; private ones with a token only.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """repositories: `models/org/name` or `datasets/org/name` -> a folder. gated: those that need TOKEN.

    asked: how often each path was asked for. broken: answers 503 to so many requests to come. left: the only
    paths that it still answers, everything else gets 503; None for all.
    """

    TOKEN = "hf_secret_of_the_test"

    def __init__(self, repositories: dict[str, Path], gated: tuple[str, ...] = ()):
        self.repositories, self.gated = repositories, gated
        self.asked: Counter[str] = Counter()
        self.broken = 0
        self.left: list[str] | None = None
        hub = self

        class Handler(_Handler):
            server_of = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server_of, unquote(urlsplit(self.path).path)
        hub.asked[path] += 1
        if hub.broken:
            hub.broken -= 1
            self._send(503, b"{}")
            return
        if hub.left is not None and path not in hub.left:
            self._send(503, b"{}")
            return
        words = path.removeprefix("/api").strip("/").split("/")
        kind = words.pop(0) if words[0] in ("datasets", "models") else "models"
        org, name, *rest = words if len(words) > 1 else ["", ""]
        repository = f"{kind}/{org}/{name}"
        folder = hub.repositories.get(repository)
        if folder is None:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return
        token = self.headers.get("Authorization") == f"Bearer {hub.TOKEN}"
        if repository in hub.gated and not token:
            self._send(403, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            return
        if path.startswith("/api/"):
            self._api(folder, f"{org}/{name}", rest)
        elif rest[0] == "resolve":
            self._file(folder / "/".join(rest[2:]))
        else:
            self._send(404, b"{}")

    def _api(self, folder: Path, name: str, rest: list[str]) -> None:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        paths = [p.relative_to(folder).as_posix() for p in files]
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": path} for path in paths]
            about = {"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            self._json(about | {"lastModified": "2026-01-01T00:00:00.000Z", "downloads": 0, "likes": 0})
        elif rest[0] == "tree":
            inside = "/".join(rest[2:])
            found = [
                _entry(folder, file)
                for file, path in zip(files, paths, strict=True)
                if path.startswith(inside)
            ]
            self._json(found) if found or not inside else self._send(
                404, b"{}", {"X-Error-Code": "EntryNotFound"}
            )
        elif rest[0] == "paths-info":
            text = self.body.decode()
            asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            self._json([_entry(folder, folder / path) for path in asked if (folder / path).is_file()])
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _file(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = file.read_bytes()
        tag = hashlib.sha1(content).hexdigest()
        self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "none"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entry(folder: Path, file: Path) -> dict[str, Any]:
    oid = hashlib.sha1(file.read_bytes()).hexdigest()
    path = file.relative_to(folder).as_posix()
    return {"type": "file", "path": path, "size": file.stat().st_size, "oid": oid}
