"""A Hugging Face hub of our own on this machine: the paths, headers and redirects of the real one, with faults on order.

Small files live at the hub and are named by git's SHA-1; large ones are redirected to a second server (the real hub's
CDN), which refuses a token that is not meant for it, as the signed addresses there do."""

import hashlib
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path):
    return path.endswith((".safetensors", ".bin", ".gguf", "tokenizer.json"))


def etag_of(path, data):
    return hashlib.sha256(data).hexdigest() if is_large(path) else git_hash(data)


@dataclass
class Repository:
    files: dict
    commit: str = "c" * 40
    refs: tuple = ("main",)
    token: str = ""  # without it: 401
    gated: bool = False


@dataclass
class Faults:
    cut_after: dict = field(default_factory=dict)  # file: bytes per answer, for ever
    cut_times: dict = field(default_factory=dict)  # file: how many answers are cut in the middle
    status: dict = field(default_factory=dict)  # file: list of answers before the right one
    content: dict = field(default_factory=dict)  # file: other bytes than announced
    no_ranges: bool = False
    wrong_range: bool = False  # 206, but from the start
    size: dict = field(default_factory=dict)  # file: announced size
    stall: dict = field(default_factory=dict)  # file: threading.Event that is waited for in the middle


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.hub.requests.append((self.command, unquote(self.path), self.headers.get("Range", ""), self.headers.get("Authorization", ""), self.server.role))
        try:
            if self.server.role == "cdn":
                return self.cdn(*parts)
            if parts[:2] == ["api", "models"]:
                return self.api("/".join(parts[2:4]), parts[4:])
            if parts[:2] == ["api", "resolve-cache"]:
                return self.small("/".join(parts[2:4]), parts[4], "/".join(parts[5:]))
            if parts[2:3] == ["resolve"]:
                return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            return self.send(404)  # what huggingface_hub asks beside
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.pop("length", len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def repository(self, name, revision):
        """The repository and commit, or None after the refusal was sent."""
        repository = self.hub.repositories.get(name)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository is None:
            self.send(401 if not bearer else 404, b'{"error":"Repository not found"}', X_Error_Code="RepoNotFound")
        elif repository.token and bearer != repository.token:
            self.send(401, b'{"error":"Invalid username or password."}', X_Error_Code="RepoNotFound")
        elif repository.gated:
            self.send(403, b'{"error":"Access to model is restricted"}', X_Error_Code="GatedRepo")
        elif revision not in (repository.commit, *repository.refs):
            self.send(404, b'{"error":"Invalid rev id"}', X_Error_Code="RevisionNotFound")
        else:
            return repository
        return None

    def api(self, name, rest):
        repository = self.repository(name, rest[1] if len(rest) > 1 else "main")
        if repository is None:
            return
        if rest[:1] == ["tree"]:
            entries = [{"type": "file", "path": path, "size": len(data), "oid": git_hash(data),
                        **({"lfs": {"oid": etag_of(path, data), "size": len(data), "pointerSize": 134}} if is_large(path) else {})}
                       for path, data in repository.files.items()]
            return self.send(200, json.dumps(entries).encode(), Content_Type="application/json")
        info = {"id": name, "sha": repository.commit, "siblings": [{"rfilename": path} for path in repository.files]}
        self.send(200, json.dumps(info).encode(), Content_Type="application/json")

    def resolve(self, name, revision, path):
        repository = self.repository(name, revision)
        if repository is None:
            return
        if path not in repository.files:
            return self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=repository.commit)
        data = repository.files[path]
        headers = {"X_Repo_Commit": repository.commit, "X_Linked_Size": self.hub.faults.size.get(path, len(data)),
                   "X_Linked_Etag": f'"{etag_of(path, data)}"'}
        if is_large(path):
            return self.send(302, b"Found. Redirecting", Location=f"{self.hub.cdn}/{name}/{path}?signature=abc", **headers)
        self.send(307, b"Temporary Redirect", Location=f"/api/resolve-cache/{name}/{repository.commit}/{path}", **headers)

    def small(self, name, commit, path):
        data = self.hub.repositories[name].files[path]
        self.content(path, self.hub.faults.content.get(path, data), ETag=f'"{git_hash(data)}"', X_Repo_Commit=commit)

    def cdn(self, org, name, *path):
        if self.headers.get("Authorization"):
            return self.send(400, b"Only one auth mechanism allowed")
        path = "/".join(path)
        self.content(path, self.hub.faults.content.get(path, self.hub.repositories[f"{org}/{name}"].files[path]))

    def content(self, path, data, **headers):
        faults = self.hub.faults
        if faults.status.get(path):
            return self.send(faults.status[path].pop(0), b"not now")
        begin, status = 0, 200
        if self.headers.get("Range", "").startswith("bytes=") and not faults.no_ranges:
            begin = int(self.headers["Range"][6:].split("-")[0])
            if begin >= len(data):
                return self.send(416, Content_Range=f"bytes */{len(data)}")
            begin = 0 if faults.wrong_range else begin
            status, headers["Content_Range"] = 206, f"bytes {begin}-{len(data) - 1}/{len(data)}"
        body = data[begin:]
        end = faults.cut_after.get(path, len(body))
        if faults.cut_times.get(path, 0) > 0:
            faults.cut_times[path] -= 1
            end = len(body) // 2
        if end >= len(body) and path not in faults.stall:
            return self.send(status, body, **headers)
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        if self.command == "HEAD":
            return
        if path in faults.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            faults.stall[path].wait(60)
        else:
            self.wfile.write(body[:end])
        self.close_connection = True
        self.connection.close()


class Hub:
    """Two servers in threads; `with Hub() as hub: ...`."""

    def __init__(self, certificate=None):
        self.repositories, self.requests, self.faults = {}, [], Faults()
        handler = type("HubHandler", (Handler,), {"hub": self})
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            for server in self.servers:
                server.socket = context.wrap_socket(server.socket, server_side=True)
        for server, role in zip(self.servers, ("hub", "cdn")):
            server.role, server.daemon_threads = role, True
        # Another name for the same machine, so that the two are different hosts to a client.
        self.endpoint = f"{scheme}://127.0.0.1:{self.servers[0].server_port}"
        self.cdn = f"{scheme}://localhost:{self.servers[1].server_port}"

    def stand_in(self, monkeypatch, home):
        """In place of the real one, for programs that start from here, with a cache of their own."""
        monkeypatch.setenv("HF_ENDPOINT", self.endpoint)
        monkeypatch.setenv("HF_HOME", str(home))
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(name, raising=False)

    def __enter__(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fetched(self, path):
        """The Range of every GET of a file's bytes, in order; "" = the whole file."""
        return [part for command, url, part, _, role in self.requests
                if command == "GET" and urlsplit(url).path.endswith("/" + path) and (role == "cdn" or "resolve-cache" in url)]
