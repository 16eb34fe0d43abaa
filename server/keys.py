"""Keys of the API: only their hashes are stored, in a JSON file the operator owns.

`python -m server.keys FILE ID [SCOPE ...]` adds a key and writes it to stdout, once.
"""

import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCOPES = ("enhance", "admin")
_PREFIX = "avse_"
_LOG = logging.getLogger(__name__)


class InvalidKeyFile(Exception):
    """The key file is not as documented."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key_id: Name of the key; empty where no keys are needed.
        scopes: What it may do.
    """

    key_id: str = ""
    scopes: frozenset[str] = frozenset(SCOPES)

    @property
    def is_admin(self) -> bool:
        """Whether it may load models and see every job."""
        return "admin" in self.scopes


def hash_key(key: str) -> str:
    """What is stored of a key; keys are random, so one plain hash is enough."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys of a file, read again whenever the file changes.

    Args:
        path: The file; None lets everyone do everything.

    Raises:
        InvalidKeyFile: The file is not as documented.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file."""
        self._path = path
        self._changed_ns = 0
        self._callers: dict[str, Caller] = {}
        if path is not None:
            self._callers, self._changed_ns = read_keys(path), path.stat().st_mtime_ns

    @property
    def is_needed(self) -> bool:
        """Whether callers need a key."""
        return self._path is not None

    def find(self, key: str) -> Caller | None:
        """The caller of a key; takes as long for a wrong key as for a right one."""
        self._refresh()
        hashed = hash_key(key)
        found = None
        for stored, caller in self._callers.items():
            if secrets.compare_digest(stored, hashed):
                found = caller
        return found

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._callers, self._changed_ns = read_keys(self._path), changed_ns
        except (OSError, InvalidKeyFile) as error:
            _LOG.warning("the key file cannot be read, the keys stay: %s", type(error).__name__)


def read_keys(path: Path) -> dict[str, Caller]:
    """Hash of each key to its caller.

    Raises:
        InvalidKeyFile: Not `{"keys": [{"id", "hash": "sha256:HEX", "scopes": [...]}]}`.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        return {_checked_hash(entry): _caller(entry) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidKeyFile(f"key file: {error}") from error


def _checked_hash(entry: dict[str, Any]) -> str:
    stored = str(entry["hash"])
    if not stored.startswith("sha256:") or len(stored) != len("sha256:") + 64:
        raise ValueError("hash: expected sha256: and 64 hex digits")
    return stored.lower()


def _caller(entry: dict[str, Any]) -> Caller:
    scopes = frozenset(entry["scopes"])
    if not entry["id"] or not scopes <= set(SCOPES):
        raise ValueError(f"expected an id and scopes of {SCOPES}")
    return Caller(str(entry["id"]), scopes)


def add_key(path: Path, key_id: str, scopes: Sequence[str]) -> str:
    """Add a new key to a file and return it; only its hash is kept.

    Raises:
        InvalidKeyFile: The file is there and not as documented, or a scope is unknown.
    """
    entries: list[dict[str, Any]] = []
    if path.exists():
        read_keys(path)
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
    if not set(scopes) <= set(SCOPES):
        raise InvalidKeyFile(f"scopes: expected some of {SCOPES}")
    key = _PREFIX + secrets.token_urlsafe(32)
    entries.append({"id": key_id, "hash": hash_key(key), "scopes": list(scopes)})
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    part.write_text(json.dumps({"keys": entries}, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
    return key


def main(arguments: Sequence[str]) -> int:
    """Add a key as the command line says; the exit code."""
    if len(arguments) < 2:
        sys.stderr.write(f"usage: python -m server.keys FILE ID [{' '.join(SCOPES)}]\n")
        return 2
    path, key_id, *scopes = arguments
    sys.stdout.write(add_key(Path(path), key_id, scopes or ["enhance"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
