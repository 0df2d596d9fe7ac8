"""What a log may look like, and what is wrong with it."""

import numpy as np
import pandas
import pytest

from compressae_jax.evaluation.online import log
from compressae_jax.notation import InputError

GOOD = {
    "variant": ["b", "a", "b", "a"],
    "user": ["ann", "bob", "cid", "dan"],
    "impressions": [3, 4, 5, 6],
    "clicks": [1, 0, 2, 6],
}


def changed(**columns):
    return {**GOOD, **columns}


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "frame", "dict"])
def test_every_kind_of_table_is_the_same_log(kind, tmp_path):
    frame = pandas.DataFrame(changed(day=["10", "9", "9", "10"], segment=["x", "y", "x", "x"]))
    path = tmp_path / f"log.{kind}"
    if kind in ("csv", "tsv"):
        frame.to_csv(path, sep=",\t"[kind == "tsv"], index=False)
    if kind == "parquet":
        frame.to_parquet(path)
    given = {"frame": frame, "dict": {name: frame[name].tolist() for name in frame}}.get(kind, path)

    read = log.read(given)
    assert read.variant.names == ["a", "b"] and read.variant.of.tolist() == [1, 0, 1, 0]
    assert read.clicks.tolist() == GOOD["clicks"] and read.impressions.tolist() == GOOD["impressions"]
    assert len(set(read.user.tolist())) == 4
    assert read.period.names == ["9", "10"] and read.period.of.tolist() == [1, 0, 0, 1], "by value"
    assert read.segment.names == ["x", "y"]


def test_days_are_named_as_days_and_columns_as_they_are_called():
    days = pandas.to_datetime(["2026-03-02", "2026-03-01", "2026-03-01", "2026-03-02"])
    table = pandas.DataFrame({**GOOD, "when": days}).rename(columns={"user": "who"})
    read = log.read(table, {"user": "who", "period": "when"})
    assert read.period.names == ["2026-03-01", "2026-03-02"] and read.segment is None


def test_users_of_two_variants_stop_or_are_left_out():
    given = changed(user=["ann", "bob", "cid", "ann"], impressions=[3, 4, 5, 6])
    with pytest.raises(InputError, match=r"1 users are in two variants \(ann in a and b\).*crossed=drop"):
        log.read(given)
    left = log.read(given, crossed="drop")
    assert left.crossed == 1 and left.clicks.tolist() == [0, 2] and left.variant.of.tolist() == [0, 1]
    with pytest.raises(InputError, match="at least two variants, not b"):
        log.read(changed(user=["ann", "ann", "cid", "ann"]), crossed="drop")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({name: GOOD[name] for name in ("variant", "user", "clicks")}, "one column for the impressions, 'impressions'"),
        (changed(views=[1, 2, 3, 4]), "one column for the impressions"),
        (changed(clicks=[1, -1, 2, 6]), "clicks must be from 0 to .*, row 1 has -1"),
        (changed(clicks=[1, 0, 9, 7]), r"2 rows have more clicks than impressions, row 2 first \(9 of 5\)"),
        (changed(clicks=[0.5, 0, 1, 1]), "clicks: counts must be whole numbers"),
        (changed(clicks=["1", "x", "1", "1"]), "clicks: counts must be whole numbers"),
        (changed(clicks=[1, None, 1, 1]), "'clicks' has empty values"),
        (changed(variant=["a", "", "b", "b"]), "column of the variant has empty values"),
        (changed(user=["ann", "", "cid", "dan"]), "column of the user has empty values"),
        (changed(variant=["a"] * 4), "at least two variants, not a"),
        (changed(user=[0.5, 1, 2, 3]), "log: users: "),
        ({name: [] for name in GOOD}, "has no rows"),
        (7, "a table or the path of one, not int"),
        ("absent.csv", "there is no file absent.csv"),
        ("log.xlsx", "must be a table"),
    ],
)
def test_what_is_no_log(given, message):
    with pytest.raises(InputError, match=message):
        log.read(given)


def test_names_of_no_role_or_no_column():
    with pytest.raises(InputError, match="names must be one of 'variant'"):
        log.read(GOOD, {"users": "user"})
    with pytest.raises(InputError, match="one column for the segment, 'country'"):
        log.read(GOOD, {"segment": "country"})
    with pytest.raises(InputError, match="crossed must be one of"):
        log.read(GOOD, crossed="keep")


def test_columns_of_unlike_lengths():
    with pytest.raises(InputError, match="of one length"):
        log.read({**GOOD, "clicks": np.array([1, 2])})
