import json

import pytest

from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import records


def record(**changes):
    train = {"lr": 0.1, "steps": 5, "log_every": 1, "microbatch": 0, **changes.pop("train", {})}
    source = {"name": "a.npy", "rows": 9, "width": 4, "sample": "ab", **changes.pop("source", {})}
    return {"seed": 0, "data": {"zero_rows": "stop"}, "model": {"h": 8}, "train": train, "source": source, **changes}


@pytest.fixture
def folder(tmp_path):
    records.write_config(tmp_path, record())
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    return tmp_path


def test_the_same_config_may_continue(folder):
    records.check_config(folder, record())
    records.check_config(folder, record(train={"log_every": 7, "microbatch": 2}, search={"backend": "scan"}))
    records.check_config(folder, record(source={"name": "moved/a.npy"}, mesh={"data": 2, "model": 1}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"train": {"lr": 0.2}}, "train.lr was 0.1, now 0.2"),
        ({"train": {"steps": 6}}, "train.steps was 5, now 6"),
        ({"model": {"h": 16}}, "model.h was 8, now 16"),
        ({"data": {"zero_rows": "drop"}}, "data.zero_rows was 'stop', now 'drop'"),
        ({"source": {"sample": "cd"}}, "source.sample was 'ab', now 'cd'"),
        ({"model": {"h": 8, "new": 1}}, "model.new was None, now 1"),
    ],
)
def test_another_config_is_refused_by_field(folder, changes, named):
    with pytest.raises(InputError, match=named) as caught:
        records.check_config(folder, record(**changes))
    assert str(caught.value).count(" was ") == 1


def test_fields_that_came_later_had_their_defaults(folder):
    records.check_config(folder, record(train={"weight_pairs": 0.0, "refine_rounds": 0}))
    with pytest.raises(InputError, match=r"train.weight_pairs was 0.0, now 0.5"):
        records.check_config(folder, record(train={"weight_pairs": 0.5}))


def test_a_run_that_kept_nothing_may_begin_anew(tmp_path):
    records.write_config(tmp_path, record())
    records.check_config(tmp_path, record(seed=1))


def test_a_folder_without_its_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(FolderError, match="choose another workdir"):
        records.check_config(folder, record())


def test_a_damaged_config_is_refused(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(FolderError, match="seal"):
        records.check_config(folder, record())


def test_lines_after_the_state_are_cut(tmp_path):
    log = records.Log(tmp_path, 0)
    for step in range(1, 8):
        log.write({"step": step, "loss": step / 2})
    log.sync()
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a kill came
    assert len(records.read_metrics(tmp_path)) == 7

    log = records.Log(tmp_path, 4)
    assert log.last == {"step": 4, "loss": 2.0}
    log.write({"step": 5, "loss": 9.0})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == records.read_metrics(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 1.0), (3, 1.5), (4, 2.0), (5, 9.0)]


def test_tensorboard_files_are_written_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    log = records.Log(tmp_path, 0)
    log.write({"step": 1, "loss": 2.5})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


def test_no_metrics_are_an_empty_list(tmp_path):
    assert records.read_metrics(tmp_path) == []
