import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.model import compressae
from compressae_jax.model.compressae import CompresSAE, project_decoder
from compressae_jax.model.losses import Mix, compressae_loss
from compressae_jax.notation import InputError

D, H, B = 11, 37, 13


def some_params(seed=0, d=D, h=H):
    rng = np.random.default_rng(seed)
    decoder_w = oracle.unit(rng.normal(size=(h, d)))
    params = {"encoder_w": rng.normal(size=(d, h)), "encoder_b": 0.1 * rng.normal(size=h), "decoder_w": decoder_w}
    return {name: jnp.asarray(array, jnp.float32) for name, array in params.items()}


def some_vectors(seed=1):
    return (3 * np.random.default_rng(seed).normal(size=(B, D))).astype(np.float32)  # not of unit length


def outputs(params, x, k, **fields):
    return CompresSAE(D, H, k, **fields).apply({"params": params}, jnp.asarray(x))


@pytest.mark.parametrize("k", [1, 4, 9, 10, H])  # 4k below, at and above h
@pytest.mark.parametrize("compiled", [False, True])
def test_forward_and_loss_are_the_oracles(k, compiled):
    params, x = some_params(), some_vectors()
    run = jax.jit(outputs, static_argnums=2) if compiled else outputs
    given, wanted = run(params, x, k), oracle.forward(params, x, k)
    assert_array_equal(given.s_k != 0, wanted.s_k != 0)
    for name in ("s_k", "z_k", "z_4k"):
        assert_allclose(getattr(given, name), getattr(wanted, name), atol=1e-5)
    _, terms = compressae_loss(jnp.asarray(x), given)
    assert_allclose([terms["loss_k"], terms["loss_4k"]], oracle.losses(params, x, k), atol=1e-6)


@pytest.mark.parametrize(("k", "fewer"), [(1, []), (3, [1]), (9, [4, 2])])
def test_prefixes_are_what_smaller_codes_reconstruct(k, fewer):
    params, x = some_params(), some_vectors()
    given = CompresSAE(D, H, k).apply({"params": params}, jnp.asarray(x), prefixes=True)
    assert len(given.z_prefixes) == len(fewer)
    for z, fewer_k in zip(given.z_prefixes, fewer, strict=True):
        assert_allclose(z, oracle.forward(params, x, fewer_k).z_k, atol=1e-5)
    loss, terms = compressae_loss(jnp.asarray(x), given, Mix(0.0, 0.0, 2.0))
    wanted = np.mean([oracle.losses(params, x, fewer_k)[0] for fewer_k in fewer]) if fewer else 0
    assert_allclose(terms["loss_prefixes"], wanted, atol=1e-6)
    assert_allclose(loss, oracle.losses(params, x, k)[0] + 2 * wanted, atol=1e-5)


def _loss(params, x, k, term):
    out = outputs(params, x, k)
    loss, terms = compressae_loss(jnp.asarray(x), out)
    return loss if term == "loss" else terms[term]


@pytest.mark.parametrize("k", [1, 4, 10, H])
@pytest.mark.parametrize("term", ["loss_k", "loss_4k", "loss"])
def test_every_gradient_is_the_oracles(k, term):
    params, x = some_params(), some_vectors()
    given = jax.jit(jax.grad(_loss), static_argnums=(2, 3))(params, x, k, term)
    wanted = {
        "loss_k": lambda: oracle.branch_gradient(params, x, k),
        "loss_4k": lambda: oracle.branch_gradient(params, x, 4 * k),
        "loss": lambda: oracle.gradient(params, x, k),
    }[term]()
    for name in oracle.NAMES:
        # A cosine does not know the length of its one atom: at k=1 the encoder's gradient is zero in theory too.
        assert np.abs(wanted[name]).max() > 1e-4 or (k == 1 and term == "loss_k" and name != "decoder_w")
        assert_allclose(given[name], wanted[name], atol=2e-6, err_msg=name)


def test_oracles_gradient_is_the_slope_of_its_loss():
    params, x, k, eps = oracle.double(some_params()), some_vectors(), 4, 1e-6
    gradient = oracle.gradient(params, x, k)
    rng = np.random.default_rng(2)
    for name in oracle.NAMES:
        step = eps * rng.normal(size=params[name].shape)
        there, back = (
            oracle.losses(params | {name: params[name] + sign * step}, x, k) @ np.array([1, 1 / 8]) for sign in (1, -1)
        )
        assert_allclose((there - back) / 2, (gradient[name] * step).sum(), rtol=1e-4)


@pytest.mark.parametrize("k", [1, 4, H])
def test_encode_is_the_sorted_code_of_the_forward_pass(k):
    params, x = some_params(), some_vectors()
    codes = CompresSAE(D, H, k).apply({"params": params}, jnp.asarray(x), method="encode")
    assert codes.columns.dtype == jnp.uint16 and codes.shape == (B, H)
    assert_allclose(codes.to_dense(), outputs(params, x, k).s_k, atol=1e-6)
    assert (np.diff(np.abs(codes.values), axis=1) <= 0).all()
    wider = CompresSAE(D, H, H).apply({"params": params}, jnp.asarray(x), method="encode")
    assert_array_equal(wider.prefix(k).columns, codes.columns)


def test_code_does_not_depend_on_the_length_of_a_vector():
    params, x = some_params(), some_vectors()
    encode = jax.jit(lambda x: CompresSAE(D, H, 4).apply({"params": params}, x, method="encode"))
    for scale in (2.0**-60, 2.0**60):  # powers of two, so that the bits are the same
        assert_array_equal(encode(scale * x).values, encode(x).values)


def test_zero_row_has_an_all_zero_code_and_finite_gradients():
    params, x = some_params(), some_vectors()
    x[3] = 0
    codes = CompresSAE(D, H, 4).apply({"params": params}, jnp.asarray(x), method="encode")
    assert not np.asarray(codes.values)[3].any() and np.asarray(codes.values)[4].all()
    for name, gradient in jax.grad(_loss)(params, x, 4, "loss").items():
        assert np.isfinite(gradient).all(), name
        assert_allclose(gradient, oracle.gradient(params, x, 4)[name], atol=2e-6)


def test_ablations_by_name():
    params, x = some_params(), some_vectors()
    a = oracle.forward(params, x, 4).a
    positive = CompresSAE(D, H, 4, activation="relu_topk")
    code = positive.apply({"params": params}, jnp.asarray(x), method="encode")
    wanted = np.maximum(a, 0)
    assert_allclose(code.to_dense(), wanted * oracle.kept(wanted, 4), atol=1e-5)
    assert_allclose(outputs(params, x, 4, activation="relu_topk").s_k, code.to_dense(), atol=1e-6)
    everything = CompresSAE(D, H, 4, activation="identity")
    assert_allclose(everything.apply({"params": params}, jnp.asarray(x), method="encode").to_dense(), a, atol=1e-5)


def test_first_parameters():
    x = jnp.ones((1, D))
    params = jax.jit(CompresSAE(D, H, 4).init)(jax.random.key(0), x)["params"]  # as training has it
    assert_array_equal(params["encoder_w"], params["decoder_w"].T)
    assert_allclose(np.linalg.norm(params["decoder_w"], axis=1), 1, rtol=1e-6)
    assert not params["encoder_b"].any()

    published = jax.jit(CompresSAE(D, 2000, 4, init_encoder="kaiming").init)(jax.random.key(0), x)["params"]
    bound = np.sqrt(6 / 2000)  # kaiming_uniform_ of a (d, h) tensor: its fan is the last axis
    assert np.abs(published["encoder_w"]).max() == pytest.approx(bound, rel=1e-2)
    assert_allclose(np.std(published["encoder_w"]), bound / np.sqrt(3), rtol=2e-2)
    assert not np.allclose(published["encoder_w"], published["decoder_w"].T)
    with pytest.raises(InputError, match="init_encoder must be one of"):
        CompresSAE(D, H, 4, init_encoder="zeros").init(jax.random.key(0), x)


def test_project_decoder_touches_the_decoder_only():
    params = some_params()
    longer = {**params, "decoder_w": 3 * params["decoder_w"]}
    projected = project_decoder(longer)
    assert_allclose(projected["decoder_w"], params["decoder_w"], rtol=1e-6)
    assert projected["encoder_w"] is longer["encoder_w"] and projected["encoder_b"] is longer["encoder_b"]


def test_bfloat16_products_stay_near():
    params, x = some_params(), some_vectors()
    near = outputs(params, x, H, dtype=jnp.bfloat16)
    assert (near.s_k.dtype, near.z_k.dtype) == (jnp.bfloat16, jnp.float32)
    assert_allclose(np.asarray(near.s_k, np.float32), oracle.forward(params, x, H).s_k, atol=0.05)
    assert (
        np.abs(np.asarray(near.s_k, np.float32) - oracle.forward(params, x, H).s_k).max() > 1e-4
    )  # it is not float32 in disguise


def published_class(torch, params, k):
    """The published class, restated: l2-normalised input, topk of |e| by scatter times sign, cosine of both budgets."""

    class Published(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, array in params.items():
                self.register_parameter(name, torch.nn.Parameter(torch.tensor(np.asarray(array))))

        def encode(self, x):
            return x / x.norm(dim=-1, keepdim=True) @ self.encoder_w + self.encoder_b

        def topk_mask(self, e, k):
            top = torch.topk(torch.abs(e), k, -1)
            return torch.zeros_like(e).scatter(-1, top.indices, top.values) * torch.sign(e)

        def losses(self, x):
            e = self.encode(x)
            z, z_4k = (self.topk_mask(e, some) @ self.decoder_w for some in (k, 4 * k))
            similar = torch.nn.functional.cosine_similarity
            loss_k, loss_4k = (1 - similar(x, z, 1)).mean(), (1 - similar(x, z_4k, 1)).mean()
            return loss_k + loss_4k / 8, loss_k, loss_4k

    return Published()


def test_published_class_gives_the_same_codes_loss_and_gradients():
    torch = pytest.importorskip("torch")
    params, x, k = some_params(), some_vectors(), 4
    model = published_class(torch, params, k)
    loss, loss_k, loss_4k = model.losses(torch.tensor(x))
    loss.backward()

    out = outputs(params, x, k)
    code = model.topk_mask(model.encode(torch.tensor(x)), k).detach().numpy()
    assert_array_equal(code != 0, out.s_k != 0)
    assert_allclose(code, out.s_k, atol=1e-5)
    ours, terms = compressae_loss(jnp.asarray(x), out)
    for mine, theirs in [(ours, loss), (terms["loss_k"], loss_k), (terms["loss_4k"], loss_4k)]:
        assert_allclose(mine, theirs.item(), atol=1e-6)
    for name, gradient in jax.grad(_loss)(params, x, k, "loss").items():
        assert_allclose(gradient, getattr(model, name).grad.numpy(), atol=2e-6, err_msg=name)


def test_free_decoder_rows_become_unit_rows_of_a_longer_encoder():
    rng = np.random.default_rng(0)
    params = {"encoder_w": rng.standard_normal((5, 9)), "encoder_b": rng.standard_normal(9)}
    params["decoder_w"] = rng.standard_normal((9, 5))
    params["decoder_w"][4] = 0  # a latent that says nothing
    now = compressae.with_unit_rows(params)
    assert_allclose(np.linalg.norm(now["decoder_w"], axis=1), 1, rtol=1e-6)
    x = rng.standard_normal((3, 5))
    before = (x @ params["encoder_w"] + params["encoder_b"]) @ params["decoder_w"]
    assert_allclose((x @ now["encoder_w"] + now["encoder_b"]) @ now["decoder_w"], before, rtol=1e-5)


def test_a_projected_gradient_has_no_radial_part():
    rng = np.random.default_rng(0)
    params = compressae.project_decoder({"decoder_w": jnp.asarray(rng.standard_normal((9, 5)), jnp.float32)})
    gradient = {"decoder_w": jnp.asarray(rng.standard_normal((9, 5)), jnp.float32)}
    left = compressae.without_radial(gradient, params)["decoder_w"]
    assert_allclose((left * params["decoder_w"]).sum(axis=1), 0, atol=1e-6)
    assert_allclose(jnp.cross(left[:, :3] - gradient["decoder_w"][:, :3], params["decoder_w"][:, :3]), 0, atol=1e-5)


def test_all_products_of_a_bfloat16_gradient_have_factors_in_it():
    module = CompresSAE(d=D, h=H, k=3, dtype=jnp.bfloat16)

    def loss(params, x):
        outputs = module.apply({"params": params}, x)
        return jnp.square(outputs.z_k).sum() + jnp.square(outputs.z_4k).sum()

    text = jax.jit(jax.grad(loss)).lower(some_params(), some_vectors()).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 8  # of a and both z; of these two gradients each, of a that of W_e
    for line in products:
        factors, result = line.rsplit(" : ", 1)[1].split(" -> ")
        assert factors.count("bf16>") == 2 and result.endswith("f32>"), line
