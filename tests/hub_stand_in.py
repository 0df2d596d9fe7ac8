"""A small server that speaks the part of the Hugging Face Hub's API which reading and pushing a model needs.

Commits are kept whole, large files come by LFS, a private repository is as good as none without a token, a gated one
lists its files and gives none of them.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_of_the_owner"
Files = dict[str, bytes]


class Repository:
    """A branch 'main' of commits, each with all files."""

    def __init__(self, files: Files | None = None, private: bool = False, gated: bool = False) -> None:
        self.private, self.gated, self.uploaded_by_lfs = private, gated, set[str]()
        self.commits: dict[str, Files] = {}
        self.tags: dict[str, str] = {}
        self.commit(files or {".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, files: Files) -> str:
        """Add a commit of these files; its name."""
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.tags["main"] = name
        return name

    @property
    def files(self) -> Files:
        return self.commits[self.tags["main"]]


class Hub(ThreadingHTTPServer):
    """What `serving` yields: repositories by name, and what to break."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failing: int | None = None  # the status that every request gets
        self.before_commit: Any = None  # called once

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on the tests' output."""

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlparse(self.path).path).strip("/")
        self.server.asked.append(f"{self.command} {path}")
        if self.server.failing is not None:
            return self._send(self.server.failing, {"error": "out of order"})
        if path.startswith("blobs/"):
            self.server.blobs[path.removeprefix("blobs/")] = body
            return self._send(200, {})
        if path == "api/validate-yaml":
            return self._send(200, {"warnings": [], "errors": []})
        if path == "api/repos/create":
            return self._create(json.loads(body))
        parts = path.split("/")
        if path.startswith("api/models/"):
            return self._of_repository("/".join(parts[2:4]), parts[4:], body)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._lfs(json.loads(body))
        return self._of_repository("/".join(parts[:2]), parts[2:], body)

    @property
    def _may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self, given: dict[str, Any]) -> None:
        name = f"{given['organization']}/{given['name']}"
        if not self._may:
            return self._send(401, {"error": "Invalid username or password."})
        if given["organization"] != "owner":
            return self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
        if name in self.server.repositories:
            return self._send(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
        private = given.get("visibility", given.get("private")) in ("private", True)  # the latter before version 2
        self.server.repositories[name] = Repository(private=private)
        return self._send(200, {"url": f"{self.server.url}/{name}"})

    def _of_repository(self, name: str, asked: list[str], body: bytes) -> None:
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self._may):
            return self._send(404 if self._may else 401, {"error": "Repository not found"}, error="RepoNotFound")
        kind, revision, rest = (asked[0] if asked else "revision"), (asked[1] if len(asked) > 1 else "main"), asked[2:]
        commit = repository.tags.get(revision, revision)
        if commit not in repository.commits:
            return self._send(404, {"error": "Invalid rev id"}, error="RevisionNotFound")
        files = repository.commits[commit]
        if kind == "revision":
            told = [{"rfilename": path} for path in files]
            return self._send(200, {"id": name, "sha": commit, "siblings": told, "private": repository.private})
        if kind == "tree":
            return self._send(200, [self._entry(path, content) for path, content in files.items()])
        if kind == "resolve":
            return self._file(repository, commit, "/".join(rest))
        if not self._may:
            return self._send(403, {"error": "Forbidden"})
        if kind == "preupload":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in json.loads(body)["files"]
            ]
            return self._send(200, {"files": modes})
        assert kind == "commit", self.path
        return self._commit(name, repository, body)

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, repository: Repository, commit: str, path: str) -> None:
        if repository.gated and not self._may:
            return self._send(403, {"error": "Access to model is restricted"}, error="GatedRepo")
        if path not in repository.commits[commit]:
            return self._send(404, {"error": "Entry not found"}, error="EntryNotFound")
        content = repository.commits[commit][path]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        return self._send(200, content, headers)

    def _lfs(self, given: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/blobs/{one['oid']}"}}}
            for one in given["objects"]
        ]
        return self._send(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        if self.server.before_commit is not None:
            self.server.before_commit, change = None, self.server.before_commit
            change()
        files = dict(repository.files)
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header" and value.get("parentCommit") not in (None, repository.tags["main"]):
                return self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if operation["key"] == "lfsFile":
                content = self.server.blobs[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
                repository.uploaded_by_lfs.add(value["path"])
        made = repository.commit(files)
        return self._send(200, {"commitUrl": f"{self.server.url}/{name}/commit/{made}", "commitOid": made})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None, error: str | None = None) -> None:
        told = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if error is not None:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A Hub without a repository, until the context ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
