import resource
import signal
import warnings

import pytest

from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import plan, recipes, records


def record(**changes):
    train = {**recipes.PUBLISHED["train"], "lr": 0.1, "steps": 5, **changes.pop("train", {})}
    source = {"name": "a.npy", "rows": 9, "width": 4, "sample": "ab", **changes.pop("source", {})}
    own = {"seed": 0, "data": {"zero_rows": "stop"}, "model": {"h": 8}, "rows": {"trained": 9}, "sampling": 2}
    return {**own, "train": train, "stages": plan.of(train), "source": source, **changes}


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
        ({"source": {"sample": "cd"}}, "source a.npy had other contents"),
        ({"rows": {"trained": 8}}, "rows were {'trained': 9}, now {'trained': 8}"),
        ({"budget_bytes": 8}, "budget_bytes was 0, now 8"),
        ({"train": {"refine_rounds": 3}}, "train.refine_rounds was 0, now 3"),
        ({"model": {"h": 8, "new": 1}}, "model.new was None, now 1"),
    ],
)
def test_another_config_is_refused_by_field(folder, changes, named):
    with pytest.raises(InputError, match=named) as caught:
        records.check_config(folder, record(**changes))
    assert str(caught.value).count(", now ") + str(caught.value).count("other contents") == 1


def test_passes_may_not_change_where_pairs_are_of_one_pass(tmp_path):
    records.write_config(tmp_path, record(train={"weight_pairs": 0.1}))
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match=r"train\.microbatch was 0, now 2"):
        records.check_config(tmp_path, record(train={"weight_pairs": 0.1, "microbatch": 2}))


def test_rounds_alone_do_not_read_the_fields_of_steps(tmp_path):
    rounds = {"stages": [{"kind": "rounds", "rounds": 3, "gain": 0.0}]}
    records.write_config(tmp_path, record(**rounds))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    records.check_config(tmp_path, record(train={"lr": 0.2, "steps": 9}, **rounds))
    with pytest.raises(InputError, match=r"train\.refine_rounds was 3, now 4"):
        records.check_config(tmp_path, record(stages=[{"kind": "rounds", "rounds": 4, "gain": 0.0}]))


@pytest.mark.parametrize("kept", ["checkpoints/3", "refined"])
def test_a_run_that_version_0_1_did_not_finish_is_refused(tmp_path, kept):
    older = record()
    for name in ("sampling", "rows", "stages"):
        del older[name]
    del older["train"]["refine_gain"]
    records.write_config(tmp_path, older)
    (tmp_path / kept).mkdir(parents=True)
    with pytest.raises(InputError, match=r"version 0\.1 .* did not finish"):
        records.check_config(tmp_path, record())
    (tmp_path / "model").mkdir()
    records.check_config(tmp_path, record(source={"sample": "of another kind"}))
    with pytest.raises(InputError, match=r"train\.lr was 0\.1, now 0\.2"):
        records.check_config(tmp_path, record(train={"lr": 0.2}))


def test_fields_that_came_later_had_their_defaults(tmp_path):
    older = record()
    del older["train"]["weight_pairs"]
    records.write_config(tmp_path, older)
    (tmp_path / "model").mkdir()
    records.check_config(tmp_path, record())
    with pytest.raises(InputError, match=r"train.weight_pairs was 0.0, now 0.5"):
        records.check_config(tmp_path, record(train={"weight_pairs": 0.5}))


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


def written(folder, lines, done=0):
    log = records.Log(folder, done, steps=7)
    for line in lines:
        log.write(line)
    log.sync()
    log.close()
    return log


STEPS = [{"step": step, "loss": step / 2, "seconds": step / 10} for step in range(1, 8)]
ROUNDS = [{"stage": "rounds", "round": number, "cosine": 0.5, "seconds": 1.0 + number} for number in (1, 2)]


def test_lines_after_the_state_are_cut(tmp_path):
    written(tmp_path, [*STEPS, *ROUNDS])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a kill came
    assert records.read_metrics(tmp_path) == [*STEPS, *ROUNDS]
    log = written(tmp_path, [], done=8)
    assert (log.last, log.seconds) == (STEPS[-1], 2.0)
    assert records.read_metrics(tmp_path) == [*STEPS, ROUNDS[0]]
    log = written(tmp_path, [{"step": 5, "loss": 9.0}], done=4)
    assert records.read_metrics(tmp_path) == [*STEPS[:4], {"step": 5, "loss": 9.0}]
    assert {path.name for path in tmp_path.iterdir()} - {"tensorboard"} == {"metrics.jsonl"}


def test_any_flipped_bit_of_a_line_is_noticed_and_stops_nothing(tmp_path):
    path, lines = tmp_path / "metrics.jsonl", [*STEPS[:2], ROUNDS[0]]
    written(tmp_path, lines)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            read = records.read_metrics(tmp_path)
        assert all(line in lines for line in read) and len(read) < len(lines)
        assert [str(each.message).partition(":")[0] for each in told] == [f"{path} is damaged"] or place == len(
            whole
        ) - 1
    with pytest.warns(UserWarning, match="left out line 1 of 3"):
        path.write_bytes(whole.replace(b'"loss": 0.5', b'"loss": 0.7'))
        written(tmp_path, [], done=8)
    assert records.read_metrics(tmp_path) == lines[1:]


def test_lines_of_version_0_1_have_no_sums(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    assert records.read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_full_disk_is_the_system_s_error(tmp_path):
    log = records.Log(tmp_path, 0, 7)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            for line in STEPS:
                log.write(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    log.close()
    assert records.read_metrics(tmp_path) == STEPS[:1]
    written(tmp_path, STEPS[1:], done=1)
    assert records.read_metrics(tmp_path) == STEPS


def test_tensorboard_files_are_written_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    log = records.Log(tmp_path, 0, 7)
    log.write({"step": 1, "loss": 2.5})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()


def test_no_metrics_are_an_empty_list(tmp_path):
    assert records.read_metrics(tmp_path) == []
