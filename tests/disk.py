"""Helpers for tests of files: names in a directory, and a log of syncs and renames."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfrec_stage import directories

Event = tuple[str, str]
"""`sync` and the path that was synced, or `name` and the path that was given by a rename."""


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


class DiskLog:
    """Log of calls of fsync, rename, replace and renameat2 in their order, with paths relative to a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        self._root = root
        for module, function in ((os, "rename"), (os, "replace"), (directories, "_exchange")):
            monkeypatch.setattr(module, function, self._log_name(getattr(module, function)))
        monkeypatch.setattr(os, "fsync", self._log_sync(os.fsync))

    def at(self, kind: str, name: str) -> list[int]:
        """Return the positions of the events of a file; a name may end with `*`."""
        matches = (lambda other: other.startswith(name[:-1])) if name.endswith("*") else name.__eq__
        return [number for number, (what, other) in enumerate(self.events) if what == kind and matches(other)]

    def assert_order(self, *events: Event) -> None:
        """Check that these events happened in this order, possibly with others between them."""
        last = -1
        for event in events:
            later = [number for number in self.at(*event) if number > last]
            assert later, f"expected {event} after {self.events[: last + 1]}, but then came {self.events[last + 1 :]}"
            last = later[0]

    def _log_name(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def log(source: Path, target: Path) -> Any:
            result = call(source, target)
            if result is not False:  # an exchange that the system cannot do
                self.events.append(("name", self._show(Path(target))))
            return result

        return log

    def _log_sync(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def log(fd: int) -> None:
            self.events.append(("sync", self._show(Path(f"/proc/self/fd/{fd}").readlink())))
            call(fd)

        return log

    def _show(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)
