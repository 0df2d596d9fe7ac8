"""A server of Elasticsearch or OpenSearch over HTTP, as much as `elasticsearch` asks; nothing fails silently."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from compressae_jax.notation import FolderError, InputError

WAIT = 120  # seconds for an answer
MISSING = 404
SAID = 500  # letters of what a server says


class Place:
    """An index of a server; a name and password in its url are sent, and shown nowhere.

    Raises:
        InputError: no url of an index.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/"):
            raise InputError(f"url must name an index, like http://localhost:9200/items, not {parts.path or url!r}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host += f":{parts.port}" if parts.port else ""
        self.name = f"{parts.scheme}://{host}/{parts.path.strip('/')}"
        self._headers = {}
        if parts.username is not None:
            who = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(who.encode()).decode()

    def asked(self, method: str, what: str, body: Any = None) -> dict[str, Any]:
        """The answer to a request, a body as JSON or as the bytes that it is.

        Raises:
            InputError: what the server refuses.
            FolderError: no such index.
            OSError: it does not answer, cannot, or does not let in.
        """
        raw = isinstance(body, bytes)
        kind = "application/x-ndjson" if raw else "application/json"
        data = body if raw or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, **self._headers} if data is not None else self._headers
        request = urllib.request.Request(self.name + what, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT) as answer:
                found = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            told = f"{self.name}{what}: {_reason(error.read())}"
            if error.code == MISSING:
                raise FolderError(told) from None
            if 400 <= error.code < 500 and error.code not in (401, 403, 408, 429):
                raise InputError(f"the server refused {told}") from None
            raise OSError(f"{told} ({error.code})") from None
        except urllib.error.URLError as error:
            raise OSError(f"{self.name} does not answer: {error.reason}") from None
        except ValueError as error:
            raise OSError(f"{self.name}{what} gave no JSON: {error}") from None
        if not isinstance(found, dict):
            raise OSError(f"{self.name}{what} gave no object of JSON")
        return found

    def meta(self, name: str) -> dict[str, Any] | None:
        """What the mapping says of whose rows these are; None where there is no such index.

        Raises:
            FolderError: an index that says nothing of the kind, or several behind one name.
        """
        try:
            found = self.asked("GET", "/_mapping")
        except FolderError:
            return None
        if len(found) != 1:
            raise FolderError(f"{self.name} stands for {len(found)} indexes, it must be one")
        (mapping,) = found.values()
        said = mapping.get("mappings", {}).get("_meta", {}).get(name)
        if not isinstance(said, dict) or not {"field", "ids", "folder", "sent"} <= set(said):
            raise FolderError(f"{self.name} holds something else; choose another name")
        return said

    def bulk(self, content: bytes, name: str) -> None:
        """Send a bulk file; raises InputError if an action fails, which the deletion of what is gone does not."""
        answer = self.asked("POST", "/_bulk", content)
        for item in answer.get("items", []):
            for action in item.values():
                if "error" in action:
                    why = action["error"].get("reason", action["error"]) if isinstance(action["error"], dict) else ""
                    raise InputError(f"{self.name} refused {action.get('_id')!r:.60} of {name}: {why}"[:SAID])

    def found(self, body: dict[str, Any]) -> list[str]:
        """The ids that a search finds, best first; raises OSError unless all shards have answered in time."""
        answer = self.asked("POST", "/_search", body)
        shards = answer.get("_shards", {})
        if answer.get("timed_out") or shards.get("failed") or shards.get("successful") != shards.get("total"):
            raise OSError(f"{self.name} answered for {shards.get('successful')} of {shards.get('total')} shards only")
        return [hit["_id"] for hit in answer["hits"]["hits"]]


def _reason(raw: bytes) -> str:
    """What a server says went wrong, in a line."""
    text = raw.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        cause = (error.get("root_cause") or [error])[0] if isinstance(error, dict) else {"reason": error}
        return str(cause.get("reason", cause))[:SAID]
    except (ValueError, KeyError, TypeError, AttributeError):
        return " ".join(text.split())[:SAID]
