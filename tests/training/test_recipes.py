import pytest

from compressae_jax.model import budgets
from compressae_jax.notation import InputError
from compressae_jax.training import recipes


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_legal_and_complete(name):
    fields = recipes.recipe(name)
    left_open = {"h": 64, "k": 3, "activation": "topk", "steps": 9} if name in ("continue", "default") else {}
    left_open = {"h": 64} if name == "sparse" else left_open
    recipes.check(recipes.with_fields(fields, left_open))
    assert {section: list(table) for section, table in fields.items()} == {
        section: list(table) for section, table in recipes.PUBLISHED.items()
    }


def test_every_field_has_a_legal_range():
    ranged = {"k", *recipes.INTEGERS, *recipes.NUMBERS, *recipes.CHOICES}
    assert ranged == {*recipes.PUBLISHED["model"], *recipes.PUBLISHED["train"]}


def test_the_paper_s_recipe_is_the_published_one():
    fields = recipes.recipe("paper")
    model, train = fields["model"], fields["train"]
    assert (model["h"], model["k"], model["init_encoder"], model["activation"]) == (4096, 32, "kaiming", "topk")
    assert (train["batch"], train["steps"], train["weight_4k"]) == (100_000, 500, 1 / 8)
    assert (train["warmup_steps"], train["end_lr"], train["clip_norm"]) == (0, 1.0, 0.0)


def test_a_recipe_is_a_copy():
    recipes.recipe("published")["model"]["h"] = 1
    assert recipes.PUBLISHED["model"]["h"] != 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("h", value) for value in (0, 2.5, True)),
        *(("k", value) for value in (0, 2049, "3")),
        *(("steps", value) for value in (0, -1)),
        *(("batch", value) for value in (0, 1e3)),
        ("microbatch", -1),
        ("microbatch", 1000),  # does not divide the batch
        *(("lr", value) for value in (0, -1.0, float("nan"), float("inf"), "fast")),
        *(("neighbour_steps", value) for value in (-1, 1.5)),
        ("neighbour_steps", 1),  # without landmarks
        ("warmup_steps", -1),
        ("end_lr", -0.1),
        ("clip_norm", -1),
        ("weight_4k", float("nan")),
        ("weight_pairs", -0.1),
        ("weight_prefixes", "much"),
        *(("refine_gain", value) for value in (-1e-3, 1.0)),
        *(("b1", value) for value in (1, -0.1)),
        ("b2", 1.0),
        ("activation", "relu"),
        ("distance", "l1"),
        ("gradient", "none"),
        ("decoder_rows", "long"),
        ("init_encoder", "zeros"),
        ("dtype", "float16"),
        ("log_every", 0),
        ("validate_every", -1),
        ("checkpoint_every", -1),
        ("keep_last", 0),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    published = recipes.recipe("published")
    published["train"]["steps"] = 1500
    with pytest.raises(InputError, match=name):
        recipes.check(recipes.with_fields(published, {name: value}))


def test_unknown_names_get_a_close_match():
    with pytest.raises(InputError, match="did you mean 'batch'"):
        recipes.with_fields(recipes.recipe("published"), {"bach": 3})
    with pytest.raises(InputError, match="did you mean 'paper'"):
        recipes.recipe("papr")
    unknown = recipes.recipe("published")
    unknown["train"]["warmup"] = 3
    with pytest.raises(InputError, match="did you mean 'warmup_steps'"):
        recipes.check(unknown)


def test_a_missing_field_is_named():
    fields = recipes.recipe("published")
    del fields["train"]["b2"]
    with pytest.raises(InputError, match="'b2'"):
        recipes.check(fields)


def asked(recipe="default", budget_bytes=None, **changes):
    return {"budget_bytes": budget_bytes, **recipes.with_fields(recipes.recipe(recipe), changes)}


@pytest.mark.parametrize(
    ("d", "budget"),
    [(1, 3), (6, 3), (8, 4), (50, 25), (127, 63), (128, 64), (384, 64), (4096, 64)],
)
def test_the_default_is_a_budget_that_suits_the_width(d, budget):
    settled = recipes.settled(asked(), d)
    assert (settled["budget_bytes"], settled["train"]["steps"]) == (budget, 0)
    assert budgets.choose(budget, d, 10**8).k <= max(1, d), "a legal budget"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (asked(h=512), (512, 16, 3000)),
        (asked(k=4), (2048, 4, 3000)),
        (asked(steps=9), (2048, 16, 9)),
        (asked(h=64, k=4, steps=0, refine_rounds=2), (64, 4, 0)),
        (asked(budget_bytes=0), (2048, 16, 3000)),
        (asked(budget_bytes=0, batch=32), (2048, 16, 3000)),
        (asked("published"), (2048, 16, 3000)),
        (asked("paper"), (4096, 32, 500)),
        (asked("sparse"), (16, 16, 0)),
        (asked("sparse", h=99, k=4), (99, 4, 0)),
    ],
)
def test_published_codes_are_one_name_away(fields, said):
    settled = recipes.settled(fields, 384)
    assert (settled["model"]["h"], settled["model"]["k"], settled["train"]["steps"]) == said
    assert settled["budget_bytes"] == 0 and fields["budget_bytes"] in (None, 0), "what was given is left as it is"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (asked(budget_bytes=32, k=4), "budget_bytes=32 chooses k, but k=4 is asked for"),
        (asked("paper", budget_bytes=32), "chooses h, k, steps, but h=4096, k=32, steps=500 is asked for, by hand or"),
        (asked(budget_bytes=32, lr=0.1, batch=9), "have no batch, no lr; leave them out, or name h, k or steps"),
        (asked(dtype="bfloat16"), r"codes of a budget \(64 bytes\) .* have no dtype"),
    ],
)
def test_what_contradicts_a_budget_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        recipes.settled(fields, 384)
