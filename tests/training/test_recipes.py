import pytest

from compressae_jax.notation import InputError
from compressae_jax.training import recipes


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_legal_and_complete(name):
    fields = recipes.recipe(name)
    of_start = {"h": 64, "k": 3, "activation": "topk", "steps": 9} if name == "continue" else {}
    recipes.check(recipes.with_fields(fields, of_start))
    assert {section: list(table) for section, table in fields.items()} == {
        section: list(table) for section, table in recipes.DEFAULT.items()
    }


def test_every_field_has_a_legal_range():
    ranged = {"k", *recipes.INTEGERS, *recipes.NUMBERS, *recipes.CHOICES}
    assert ranged == {*recipes.DEFAULT["model"], *recipes.DEFAULT["train"]}


def test_the_paper_s_recipe_is_the_published_one():
    fields = recipes.recipe("paper")
    model, train = fields["model"], fields["train"]
    assert (model["h"], model["k"], model["init_encoder"], model["activation"]) == (4096, 32, "kaiming", "topk")
    assert (train["batch"], train["steps"], train["weight_4k"]) == (100_000, 500, 1 / 8)
    assert (train["warmup_steps"], train["end_lr"], train["clip_norm"]) == (0, 1.0, 0.0)


def test_a_recipe_is_a_copy():
    recipes.recipe("default")["model"]["h"] = 1
    assert recipes.DEFAULT["model"]["h"] != 1


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
        ("init_encoder", "zeros"),
        ("dtype", "float16"),
        ("log_every", 0),
        ("validate_every", -1),
        ("checkpoint_every", -1),
        ("keep_last", 0),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    default = recipes.recipe("default")
    default["train"]["steps"] = 1500
    with pytest.raises(InputError, match=name):
        recipes.check(recipes.with_fields(default, {name: value}))


def test_unknown_names_get_a_close_match():
    with pytest.raises(InputError, match="did you mean 'batch'"):
        recipes.with_fields(recipes.recipe("default"), {"bach": 3})
    with pytest.raises(InputError, match="did you mean 'paper'"):
        recipes.recipe("papr")
    unknown = recipes.recipe("default")
    unknown["train"]["warmup"] = 3
    with pytest.raises(InputError, match="did you mean 'warmup_steps'"):
        recipes.check(unknown)


def test_a_missing_field_is_named():
    fields = recipes.recipe("default")
    del fields["train"]["b2"]
    with pytest.raises(InputError, match="'b2'"):
        recipes.check(fields)
