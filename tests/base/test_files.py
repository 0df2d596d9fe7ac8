"""Whole or not at all: what stands under a name, and beside it, after success, errors and kills."""

import os
import signal
import subprocess
import sys

import pytest

from compressae_jax.base import files, sealed
from compressae_jax.notation import BusyError, FolderError, InputError

NAMES = ("a", "b", "meta.json")


def put(folder, text, **more):
    with files.replacing(folder, NAMES, "meta.json") as aside:
        (aside / "a").write_text(text)
        sealed.write(aside / "meta.json", {"format_version": 1, **more})


def test_a_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    for text in ("old", "new"):
        put(tmp_path / "it", text)
        assert (tmp_path / "it/a").read_text() == text
    assert os.listdir(tmp_path) == ["it"]


def test_without_an_exchange_by_the_system_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_renameat2", lambda: None)
    test_a_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path)


def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path):
    put(tmp_path / "it", "old")
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "it", NAMES) as aside:
        (aside / "a").write_text("half")
        _ = 1 / 0
    assert (tmp_path / "it/a").read_text() == "old" and os.listdir(tmp_path) == ["it"]


@pytest.mark.parametrize("name", ["it.old", "it.partial", ".it.partial", "it.new"])
def test_neighbours_of_the_user_stay(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "a").write_text("mine")
    put(tmp_path / "it", "one")
    put(tmp_path / "it", "two")
    assert (tmp_path / name / "a").read_text() == "mine"


def test_a_folder_of_our_names_that_we_did_not_make_stays(tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it/a").write_text("mine")
    with pytest.raises(FolderError, match=r"it holds a but no meta.json of this program, so it is not replaced"):
        put(tmp_path / "it", "ours")
    (tmp_path / "it/meta.json").write_text('{"mine": 1}')
    with pytest.raises(FolderError, match="not replaced"):
        put(tmp_path / "it", "ours")
    (tmp_path / "it/notes").write_text("mine, too")
    with pytest.raises(FolderError, match=r"it holds other files \(notes\), so it is not replaced"):
        put(tmp_path / "it", "ours")
    assert (tmp_path / "it/a").read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["it"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    put(tmp_path / "disk/real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk/real")
    put(tmp_path / "link", "new")
    put(tmp_path / "link", "newer")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk/real/a").read_text() == "newer"
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"] and os.listdir(tmp_path / "disk") == ["real"]
    (tmp_path / "file").symlink_to(tmp_path / "disk/text")
    files.write_bytes(tmp_path / "file", b"text")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "disk/text").read_bytes() == b"text"


def test_two_writers_one_clear_error(tmp_path):
    with files.locked(tmp_path / "deep/it"):
        with pytest.raises(BusyError, match=rf"it is being written by process {os.getpid()} on .* since 20"):
            put(tmp_path / "deep/it", "second")
        put(tmp_path / "deep/other", "another name")
    put(tmp_path / "deep/it", "now")
    assert sorted(os.listdir(tmp_path / "deep")) == ["it", "other"]


def test_folders_made_for_a_lock_go_when_nothing_was_written(tmp_path):
    with files.locked(tmp_path / "deep/er/it"):
        pass
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path):
    code = (
        "import os, signal, sys; from compressae_jax.base import files\n"
        "with files.replacing(sys.argv[1], ('a', 'meta.json')) as aside:\n"
        "    (aside / 'a').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "it")], check=False)
    assert done.returncode == -signal.SIGKILL and len(os.listdir(tmp_path)) == 2  # the lock and what was begun
    put(tmp_path / "other", "not its business")
    assert len(os.listdir(tmp_path)) == 3
    put(tmp_path / "it", "whole")
    assert sorted(os.listdir(tmp_path)) == ["it", "other"]


def test_who_finds_a_name_complete_sweeps_where_it_may(tmp_path):
    put(tmp_path / "it", "whole")
    assert not files.left(tmp_path / "it") and not files.left(tmp_path / "nowhere/it")
    files.aside_of(tmp_path / "it").mkdir()
    assert files.left(tmp_path / "it")
    with files.locked(tmp_path / "it"):
        files.sweep(tmp_path / "it")  # nobody's but the holder's to do
        assert len(os.listdir(tmp_path)) == 3
    files.sweep(tmp_path / "it")
    assert os.listdir(tmp_path) == ["it"]


def test_a_folder_moved_out_of_its_name_comes_back(tmp_path):
    put(tmp_path / "it", "old")
    (tmp_path / "it").rename(tmp_path / f"{files._own(tmp_path / 'it')}0123-old")  # killed between two renames
    with files.locked(tmp_path / "it"):
        files.remove_leftovers(tmp_path / "it")
    assert (tmp_path / "it/a").read_text() == "old"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("file/below", "cannot be written: .*file is not a folder"),
        ("file", "exists and is not a folder"),
        ("x" * 300, "has 300 bytes, a name may have 255"),
        ("there/" + "x" * 300, "has 300 bytes, a name may have 255"),
        ("nul\0", "cannot be written"),
        ("", "is empty"),
    ],
)
def test_where_nothing_can_stand_is_said_at_the_door(tmp_path, path, message):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=message):
        files.check_out(tmp_path / path if path else path)
    with pytest.raises(InputError, match="exists and is not a file"):
        files.check_out(tmp_path, folder=False)
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_can_be_written(tmp_path):
    put(tmp_path / ("x" * 255), "long")
    assert os.listdir(tmp_path) == ["x" * 255]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put("~/it", "at home")
    assert (tmp_path / "it/a").read_text() == "at home"


def test_pipes_and_folders_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FolderError, match="is not a regular file"):
            files.open_regular(path)


@pytest.mark.parametrize("change", [0, 1])
def test_sealed_json_shows_damage(tmp_path, change):
    path = tmp_path / "meta.json"
    sealed.write(path, {"format_version": 2, "text": "schön", "name": os.fsdecode(b"\xff"), "number": 1})
    good = path.read_bytes()
    fields = sealed.read(path, 2, "mend it")
    assert fields["name"] == os.fsdecode(b"\xff") and fields["number"] == 1
    with pytest.raises(FolderError, match="has format version 2, this program reads up to 1"):
        sealed.read(path, 1, "mend it")
    if change:
        for place in range(len(good)):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            try:
                assert sealed.read(path, 2, "mend it") == fields  # white space, say
            except FolderError as error:
                assert "mend it" in str(error) or "install a newer one" in str(error)


@pytest.mark.parametrize("version", ["-1", "1.5", '"99"', "[]", "true", "0"])
def test_format_versions_are_positive_integers(tmp_path, version):
    fields = {"format_version": sealed.json.loads(version)}
    sealed.write(tmp_path / "meta.json", fields)
    with pytest.raises(FolderError, match="has format version"):
        sealed.read(tmp_path / "meta.json", 2, "mend it")


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff", b"1", b"{}", b'{"seal": 1, "seal": 1}', b" " * (2**24 + 1)])
def test_other_bytes_are_damage(tmp_path, text):
    (tmp_path / "meta.json").write_bytes(text)
    with pytest.raises(FolderError, match="is damaged: not the JSON that this program writes; mend it"):
        sealed.read(tmp_path / "meta.json", 2, "mend it")


def test_a_folder_that_is_replaced_meanwhile_is_read_again(tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "which").write_text("old")
    reads = []

    def read():
        which = (tmp_path / "it" / "which").read_text()
        reads.append(which)
        if len(reads) == 1:  # it is replaced, and the rest of it read from what has its name now
            with files.replacing(tmp_path / "it", ["which"]) as aside:
                (aside / "which").write_text("new")
        return which, (tmp_path / "it" / "which").read_text()

    assert files.steadily(tmp_path / "it", read) == ("new", "new") and len(reads) == 2
    with pytest.raises(FileNotFoundError):
        files.steadily(tmp_path / "it", lambda: (tmp_path / "it" / "other").read_text())
    with pytest.raises(FileNotFoundError):
        files.steadily(tmp_path / "nothing", lambda: (tmp_path / "nothing" / "which").read_text())


def test_a_folder_that_never_rests_is_said_so(tmp_path):
    def read():
        with files.replacing(tmp_path / "it", ["which"]) as aside:
            (aside / "which").write_text("new")

    read()
    with pytest.raises(BusyError, match="replaced again and again"):
        files.steadily(tmp_path / "it", read)


def test_remove_takes_files_folders_and_nothing_at_all(tmp_path):
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file", "nothing"):
        files.remove(tmp_path / name)
    assert not list(tmp_path.iterdir())
