"""benchmarks.selection: every form against a stable sort, and what its report claims."""

import contextlib
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from benchmarks import selection, timing
from compressae_jax.model import topk

KINDS = ["random", "tied", "awkward"]
SIZES = ["70,64,3", "40,33,2"]  # b, h, k of a run
QUICK = {"xla_backend_optimization_level": 0}  # the same program, compiled in less time


def rows_of(kind, b, h, dtype="float32"):
    rng = np.random.default_rng(h)
    match kind:
        case "random":
            a = rng.standard_normal((b, h))
        case "tied":
            a = rng.integers(-2, 3, (b, h)) * np.where(rng.random((b, h)) < 0.5, 1.0, -1.0)  # zeros of both signs
        case "awkward":
            a = selection.awkward(h)[:b]
        case "extreme":  # subnormals, and infinities of both signs
            a = np.where(rng.random((b, h)) < 0.1, np.inf, rng.integers(-9, 10, (b, h)) * 2.0**-133)
            a[0] = np.abs(a[0])
    return jnp.asarray(a, jnp.dtype(dtype))


def check(form, call, a, k):
    """Compare with the tests' own oracle."""
    double = np.asarray(a, np.float64)
    if form.job == "masks":
        wanted = [np.where(oracle.kept(double, one), double, 0) for one in (k, min(4 * k, a.shape[1]))]
    else:
        columns = np.argsort(-np.abs(double), axis=1, kind="stable")[:, :k]
        wanted = [np.take_along_axis(double, columns, axis=1), columns]
    for one, other in zip(call(np.asarray(a) if form.on_host else a), wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(one, np.float64), other, err_msg=f"{form.name}, {form.job}")


def compiled(form, b, h, dtype):
    return form.call if form.on_host else form.call.lower(jax.ShapeDtypeStruct((b, h), dtype)).compile(QUICK)


@pytest.mark.parametrize(("h", "k", "dtype", "width"), [(100, 9, "float32", 4), (33, 33, "bfloat16", 2)])
def test_every_form_is_a_stable_sort(monkeypatch, h, k, dtype, width):
    monkeypatch.setattr(selection, "WIDTHS", (width,))  # each takes a second to compile
    b, forms = 6, selection.forms(h, k, dtype)
    assert len(forms) == (11 if dtype == "float32" else 9)
    for form in forms:
        call = compiled(form, b, h, jnp.dtype(dtype))
        by_bits = form.name.startswith(("threshold", "Pallas"))  # the others may take subnormals for zeros
        for kind in [*KINDS, "extreme"] if by_bits else KINDS:
            check(form, call, rows_of(kind, b, h, dtype), k)


def test_one_column_and_every_width():
    for form in selection.forms(1, 1, "float32"):
        if form.job == "list":
            check(form, compiled(form, 3, 1, jnp.float32), rows_of("random", 3, 1), 1)


def test_buckets_fall_back_where_one_has_all_winners(monkeypatch):
    b, h, k = 4, 1024, 8
    buckets, each = selection.design(b, h, k)
    assert buckets > 1 and each < k  # else nothing could be missed
    spread = jax.random.normal(jax.random.key(0), (b, h))
    crowded = spread.at[2, 5 : 5 + k].add(100.0)
    form = next(form for form in selection.forms(h, k, "float32") if (form.name, form.job) == ("buckets", "list"))
    check(form, form.call, spread, k)
    check(form, form.call, crowded, k)

    monkeypatch.setattr(topk, "largest", lambda a, k: (jnp.zeros((b, k)), jnp.full((b, k), -1)))
    fresh = next(form for form in selection.forms(h, k, "float32") if (form.name, form.job) == ("buckets", "list"))
    check(fresh, fresh.call, spread, k)  # not used here
    assert (np.asarray(fresh.call(crowded)[1]) == -1).all()


def test_a_design_seldom_fails():
    b, h, k = 2000, 1024, 16
    buckets, each = selection.design(b, h, k)
    _, columns = jax.lax.top_k(jax.random.uniform(jax.random.key(1), (b, h)), k)
    of_bucket = jax.nn.one_hot(columns // (h // buckets), buckets).sum(axis=1)
    assert of_bucket.max() < each <= k and buckets * each <= h // 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("b", "h"), [(100_000, 4096), (20_000, 65_536), (301, 100)])
def test_kernels_lower_for_cuda(b, h, dtype):
    a = jax.ShapeDtypeStruct((b, h), jnp.dtype(dtype))
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")  # which JAX 0.11 asks for
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device)):
        for call in (selection.kernel_limits, selection.kernel_masked):
            jitted = jax.jit(functools.partial(call, ks=(16, 64), interpret=False))
            assert "__gpu$xla.gpu.triton" in jitted.trace(a).lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A run with a few forms, which `change` may replace; gives report and table, also if it exits."""
    monkeypatch.setattr(timing, "bandwidth", lambda: 1e9)
    all_forms = selection.forms

    def go(*names, change=lambda form: form, error=None):
        monkeypatch.setattr(
            selection, "forms", lambda *given: [change(form) for form in all_forms(*given) if form.name in names]
        )
        monkeypatch.setattr("sys.argv", ["selection", "--shapes", *SIZES, "--repeats=2", f"--out={tmp_path}"])
        with pytest.raises(SystemExit, match=error) if error else contextlib.nullcontext():
            selection.main()
        return json.loads((tmp_path / "selection.json").read_text())["results"], (tmp_path / "selection.md").read_text()

    return go


def test_report_has_every_form_job_and_shape(run):
    def untimed(form):
        return form._replace(timed=form.name != "lax.top_k")

    results, text = run("lax.top_k", "compiled loops", change=untimed)
    jobs = [(name, job) for name in ("lax.top_k", "compiled loops") for job in ("list", "masks")]
    assert [(one["form"], one["job"]) for one in results] == 2 * jobs
    for one in results:
        assert not one["wrong"] and one["floor"] == pytest.approx(4e-9 * np.prod(one["shape"][:2]))
        assert ("median_ms" in one) == (one["form"] == "compiled loops")
    assert "| form | 70 × 64, k=3, list | 70 × 64, k=3, masks | 40 × 33, k=2, list |" in text
    assert text.count("right; not timed on a CPU") == 4
    assert "| floor | 0.02 | 0.02 | 0.01 | 0.01 |" in text


# One row is checked among the random ones only, the other among the awkward ones only.
@pytest.mark.parametrize(("job", "row"), [("list", 0), ("masks", 68)])
def test_a_wrong_form_has_no_time(run, job, row):
    def spoilt(form):
        def call(a):
            one, other = form.call(a)
            return (one, other.at[row, -1].add(1)) if len(a) == 70 else (one, other)

        return form._replace(call=call) if (form.name, form.job) == ("lax.top_k", job) else form

    results, text = run("lax.top_k", "compiled loops", change=spoilt, error=f"top_k \\({job}\\): not the stable sort's")
    for one in results:
        assert bool(one["wrong"]) == ((one["form"], one["job"], one["shape"][0]) == ("lax.top_k", job, 70))
        assert ("median_ms" in one) != bool(one["wrong"])
    assert text.count("not the stable sort's") == 1


def test_a_form_that_the_device_refuses_hides_no_other(run):
    def call(a):
        raise NotImplementedError("no such operation\nand a trace")

    def refused(form):
        return form._replace(call=call) if form.name == "lax.top_k" else form

    results, _ = run("lax.top_k", "compiled loops", change=refused, error="NotImplementedError: no such operation;")
    assert ["median_ms" in one for one in results] == 2 * [False, False, True, True]


def test_a_cpu_times_all_but_pallas():
    assert {form.name for form in selection.forms(64, 3, "float32") if not form.timed} == {
        "Pallas, thresholds",
        "Pallas, masked rows",
    }
