"""Elasticsearch's HTTP interface, as much as is asked of it, before the ranking of Lucene itself.

What is no part of the interface is refused: the fields of every body are looked at. Filters are ours, of `term` and
`range`; all else is Lucene's (Debian's liblucene8-java, through `Lucene.java`, which is compiled here).
"""

import contextlib
import glob
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

VARIABLE = "COMPRESSAE_LUCENE"  # its jar
JARS = ("/usr/share/java/lucene-core-*.jar", f"{sys.prefix}/lucene/usr/share/java/lucene-core-*.jar")  # of lucene.sh


def jar():
    """Lucene's jar, where a compiler is, too; else None."""
    found = [
        path
        for path in (os.environ.get(VARIABLE), *(path for jars in JARS for path in sorted(glob.glob(jars))))
        if path and os.path.isfile(path)
    ]
    return found[0] if found and shutil.which("javac") else None


class RefusedError(Exception):
    """A request that is answered by 400."""


class Server:
    """A server with its url; `requests` are the methods and paths that it was asked."""

    def __init__(self, folder):
        classes = pathlib.Path(folder)
        source = pathlib.Path(__file__).parent / "Lucene.java"
        subprocess.run(["javac", "-cp", jar(), "-d", classes, source], check=True, capture_output=True)
        java = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{jar()}:{classes}", "Lucene", classes / "index"]
        pipe = subprocess.PIPE
        self.java = subprocess.Popen(java, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.lock, self.requests = threading.Lock(), []
        self.forget()
        handler = type("Handler", (_Handler,), {"server_of": self})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def forget(self):
        """Be a server without an index."""
        for one in getattr(self, "documents", {}):
            self.say(f"delete {one.encode().hex()}")
        self.mapping, self.documents, self.failed = None, {}, 0

    def close(self):
        """Stop listening, and end Lucene, which writes what it has."""
        self.http.shutdown()
        self.http.server_close()
        self.java.stdin.close()
        self.java.wait(10)
        self.java.stdout.close()

    def say(self, line):
        """A line to Lucene, and the words of its answer."""
        with self.lock:
            self.java.stdin.write(line + "\n")
            self.java.stdin.flush()
            answer, _, more = self.java.stdout.readline().rstrip("\n").partition(" ")
        if answer != "ok":
            raise RefusedError(more)
        return more.split()

    def answer(self, method, path, raw):
        """Of a request to an index: its status and JSON."""
        self.requests.append((method, path))
        _, name, *what = path.split("/")
        if self.mapping is None and (method, what) != ("PUT", []):
            return 404, {"error": {"root_cause": [{"reason": f"no such index [{name}]"}]}, "status": 404}
        if (method, what) == ("PUT", []):
            given = only(json.loads(raw), {"mappings"})["mappings"]
            if self.mapping is not None:
                raise RefusedError("resource_already_exists_exception")
            self.mapping = only(given, {"dynamic", "_meta", "properties"})
            return 200, {"acknowledged": True}
        if (method, what) == ("PUT", ["_mapping"]):
            given = only(json.loads(raw), {"_meta", "properties"})
            for field, kind in given.pop("properties", {}).items():
                if self.mapping["properties"].setdefault(field, kind) != kind:
                    raise RefusedError(f"mapper [{field}] cannot be changed")
            self.mapping |= given
            return 200, {"acknowledged": True}
        if (method, what) == ("GET", ["_mapping"]):
            return 200, {name: {"mappings": self.mapping}}
        if (method, what) == ("POST", ["_bulk"]):
            return 200, self.bulk(raw)
        if (method, what) == ("POST", ["_refresh"]):
            self.say("commit")
            return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}
        if (method, what) == ("POST", ["_search"]):
            return 200, self.search(json.loads(raw))
        raise RefusedError(f"no handler found for {method} {path}")

    def bulk(self, raw):
        """Actions one after the other; one that fails hinders no other."""
        assert raw.endswith(b"\n"), "The bulk request must be terminated by a newline"
        lines, items = iter(raw.decode().splitlines()), []
        for line in lines:
            ((action, said),) = json.loads(line).items()
            one = only(said, {"_id"})["_id"]
            if action == "delete":
                there = self.documents.pop(one, None)
                self.say(f"delete {one.encode().hex()}")
                items.append({action: {"_id": one, "status": 404 if there is None else 200}})
                continue
            assert action == "index"
            document = json.loads(next(lines))
            try:
                self.index(one, document)
                items.append({action: {"_id": one, "status": 200}})
            except RefusedError as error:
                items.append({action: {"_id": one, "status": 400, "error": {"reason": str(error)}}})
        return {"errors": any("error" in one for item in items for one in item.values()), "items": items}

    def index(self, one, document):
        """A document in the place of the one of its id, if the mapping has all its fields."""
        kinds = {"long": int, "double": (int, float), "keyword": str, "boolean": bool, "date": str}
        for field, value in document.items():
            kind = self.mapping["properties"].get(field, {"type": None})["type"]
            if kind is None or (field != "code" and not isinstance(value, kinds[kind])):
                raise RefusedError(f"mapping set to strict, [{field}] is {kind}")
        features = " ".join(f"{column}:{value!r}" for column, value in document["code"].items())
        self.say(f"add {one.encode().hex()} {features}")
        self.documents[one] = document

    def search(self, body):
        """What is found, best first."""
        only(body, {"size", "_source", "track_total_hits", "query"})
        query = only(body["query"], {"bool"})["bool"]
        only(query, {"should", "minimum_should_match", "must", "filter"})
        field = self.mapping["properties"]["code"]["type"]
        if field == "sparse_vector":
            (must,) = query["must"]
            asked = only(must, {field})[field]
            assert only(asked, {"field", "query_vector", "prune"})["field"] == "code" and asked["prune"] is False
            how, pairs = "weighted", asked["query_vector"].items()
        else:
            assert query["minimum_should_match"] == 1
            pairs = []
            for should in query["should"]:
                feature = only(only(should, {"rank_feature"})["rank_feature"], {"field", "linear", "boost"})
                assert feature["field"].startswith("code.") and feature["linear"] == {}
                pairs.append((feature["field"].removeprefix("code."), feature["boost"]))
            how = "boosted"
        kept = "-"
        if "filter" in query:
            passed = [
                one for one, document in self.documents.items() if all(passes(f, document) for f in query["filter"])
            ]
            kept = ",".join(one.encode().hex() for one in passed) or "none"
        words = " ".join(f"{column}:{weight!r}" for column, weight in pairs)
        hits = [word.split(":") for word in self.say(f"{how} {body['size']} {kept} {words}")]
        found = [{"_index": "items", "_id": bytes.fromhex(one).decode(), "_score": float(score)} for one, score in hits]
        shards = {"total": 2, "successful": 2 - self.failed, "skipped": 0, "failed": self.failed}
        return {"took": 1, "timed_out": False, "_shards": shards, "hits": {"hits": found}}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server_of: Server

    def handle_request(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if raw:
            kind = "application/x-ndjson" if self.path.endswith("_bulk") else "application/json"
            assert self.headers["Content-Type"] == kind
        try:
            status, answer = self.server_of.answer(self.command, self.path, raw)
        except (RefusedError, AssertionError) as error:
            status, answer = 400, {"error": {"root_cause": [{"type": "x", "reason": str(error)}]}, "status": 400}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = handle_request  # noqa: N815

    def log_message(self, *_):
        pass


def only(given, names):
    """An object that has no other fields."""
    if not isinstance(given, dict) or set(given) - set(names):
        raise RefusedError(f"unknown fields of {given!r:.80}")
    return given


def passes(condition, document):
    """A filter of the engines' form."""
    if "term" in condition:
        ((field, value),) = condition["term"].items()
        return document.get(field) == value
    if "range" in condition:
        ((field, bounds),) = condition["range"].items()
        only(bounds, {"lt", "gte"})
        value = document.get(field)
        return (
            value is not None and value < bounds.get("lt", float("inf")) and value >= bounds.get("gte", -float("inf"))
        )
    raise RefusedError(f"unknown query [{next(iter(condition))}]")


@contextlib.contextmanager
def running(folder):
    """A server for as long as the context lasts."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()
