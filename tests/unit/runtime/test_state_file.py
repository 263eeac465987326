"""State files: the previous state stays, and serves when the current one does not."""

import json
import os
from pathlib import Path

import pytest

from ledgermq.runtime.state_file import backup_of, load_state_file, write_state_file


def test_the_previous_state_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    write_state_file(path, b"1")
    assert not backup_of(path).exists()
    write_state_file(path, b"2")
    write_state_file(path, b"3")
    assert path.read_bytes() == b"3"
    assert backup_of(path).read_bytes() == b"2"
    assert sorted(os.listdir(path.parent)) == ["state.json", "state.json.bak"]


def test_nothing_there(tmp_path: Path) -> None:
    assert load_state_file(tmp_path / "state.json", json.loads) is None


@pytest.mark.parametrize("damage", [None, b"", b" \n", b"{"])
def test_the_previous_state_serves(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "state.json"
    write_state_file(path, b"1")
    write_state_file(path, b"2")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert load_state_file(path, json.loads) == 1


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"{")
    backup_of(path).write_bytes(b"[")
    with pytest.raises(ValueError, match=r"state\.json cannot be read"):
        load_state_file(path, json.loads)


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError

    path = tmp_path / "state.json"
    write_state_file(path, b"1")
    monkeypatch.setattr(os, "link", refuse)
    write_state_file(path, b"2")
    assert (path.read_bytes(), backup_of(path).read_bytes()) == (b"2", b"1")


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state_file(path, b"1")
    (tmp_path / "state.json.tmp").mkdir()
    with pytest.raises(OSError, match=r"state\.json\.tmp"):
        write_state_file(path, b"2")
    assert path.read_bytes() == b"1"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("damage", [None, b"", b"{"])
def test_a_kill_while_the_first_write_after_damage_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    """The good previous state must not make room for the damaged current one."""
    path = tmp_path / "state.json"
    write_state_file(path, b"1")
    write_state_file(path, b"2")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert load_state_file(path, json.loads) == 1
    really = os.replace

    def die(source: Path, target: Path) -> None:
        if target == path:
            raise Killed
        really(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            write_state_file(path, b"3")
    assert load_state_file(path, json.loads) == 1
    write_state_file(path, b"3")
    assert load_state_file(path, json.loads) == 3


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state_file(path, b"1")
    write_state_file(path, b"2")
    path.write_bytes(b"{")
    load_state_file(path, json.loads)
    assert sorted(os.listdir(tmp_path)) == ["state.json.bak", "state.json.damaged"]
