"""What tests of files share: their names, and a record of what is brought to disk and when it gets its name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfrec_stage import directories

Event = tuple[str, str]
"""`sync` and what is on disk, or `name` and what got that name."""


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


class DiskLog:
    """Calls of fsync, rename and replace, in their order; paths are relative to a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        self._root = root
        for module, function in ((os, "rename"), (os, "replace"), (directories, "_exchange")):
            monkeypatch.setattr(module, function, self._naming(getattr(module, function)))
        monkeypatch.setattr(os, "fsync", self._syncing(os.fsync))

    def at(self, kind: str, name: str) -> list[int]:
        """When something happened to a file: numbers of the events; a name may end with `*`."""
        is_meant = (lambda other: other.startswith(name[:-1])) if name.endswith("*") else name.__eq__
        return [number for number, (what, other) in enumerate(self.events) if what == kind and is_meant(other)]

    def assert_order(self, *events: Event) -> None:
        """These happened, each after the one before."""
        last = -1
        for event in events:
            later = [number for number in self.at(*event) if number > last]
            assert later, f"expected {event} after {self.events[: last + 1]}, but then came {self.events[last + 1 :]}"
            last = later[0]

    def _naming(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def log(source: Path, target: Path) -> Any:
            answer = call(source, target)
            if answer is not False:
                self.events.append(("name", self._show(Path(target))))
            return answer

        return log

    def _syncing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def log(fd: int) -> None:
            self.events.append(("sync", self._show(Path(f"/proc/self/fd/{fd}").readlink())))
            call(fd)

        return log

    def _show(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)
