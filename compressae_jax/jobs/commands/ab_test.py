"""An A/B test of click-through rates: lifts clustered by user, intervals for one look and any time, segments, power.

compressae ab_test --log=clicks.parquet --base=control --horizon=500000 --out=report
compressae ab_test --ctr=0.02 --impressions=20 --lift=0.0152

A log has a row a user (and a day), with columns variant, user, impressions, clicks and perhaps segment and period.
Without one, what an experiment needs is planned.
"""

from absl import flags

ROLES = ("variant", "user", "impressions", "clicks", "segment", "period")


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("log", None, "The log: .parquet, .csv or .tsv.")
    flags.DEFINE_string(
        "base", None, "The variant that the others are compared with; default: control, base, a or off."
    )
    flags.DEFINE_float("level", 0.99, "Of intervals.")
    flags.DEFINE_float("horizon", None, "Users of two variants at which sequences are narrowest; set it beforehand.")
    flags.DEFINE_list("shares", None, "Of users sent to the variants, by sorted name, as 0.5,0.5; default: equal.")
    flags.DEFINE_string("crossed", "stop", "Users who are in two variants: stop, or drop.")
    flags.DEFINE_list("columns", [], "What columns are called, as user=uid,clicks=n; known names need none.")
    flags.DEFINE_string("out", None, "Folder for ab_test.json, ab_test.md and ab_test.png.")
    flags.DEFINE_float("ctr", None, "To plan: the rate.")
    flags.DEFINE_float("impressions", None, "To plan: impressions a user.")
    flags.DEFINE_float("spread", 1.0, "To plan: coefficient of variation of the impressions between users.")
    flags.DEFINE_float("taste", 1.0, "To plan: coefficient of variation of the rate between users.")
    flags.DEFINE_list("lift", ["0.01", "0.02", "0.05"], "To plan: relative lifts, 0.02 for two per cent.")


def main(given: flags.FlagValues) -> None:
    """Read, analyse, print and write; or plan."""
    from compressae_jax.notation import InputError

    planned = given.ctr is not None and given.impressions is not None
    if planned and given.out is not None:
        raise InputError("out= is for the analysis of a log; a plan is printed, and nothing is written")
    if (given.log is None) != planned:
        raise InputError("give either log=, to analyse one, or ctr= and impressions=, to plan an experiment")
    (_plan if planned else _analyse)(given)


def _plan(given: flags.FlagValues) -> None:
    import itertools
    import math

    from compressae_jax.evaluation.online import analysis, pages, power

    analysis.check(given.level, 1)
    variance = power.variance(given.ctr, given.impressions, given.spread, given.taste)
    rows = []
    for lift, chance in itertools.product(_numbers("lift", given.lift), (0.8, 0.9)):
        needed = [power.users(lift, variance, given.level, chance, design) for design in power.DESIGNS]
        rows.append([f"{lift:+.2%}", f"{chance:g}", *(f"{math.ceil(users):,}" for users in needed)])
    print(pages.plan(given.ctr, given.impressions, variance, given.level, rows))


def _analyse(given: flags.FlagValues) -> None:
    import json

    from compressae_jax.base import files
    from compressae_jax.evaluation import figures
    from compressae_jax.evaluation.online import analysis, log, pages, sequences

    out = None if given.out is None else files.check_out(given.out)
    horizon = sequences.HORIZON if given.horizon is None else given.horizon
    analysis.check(given.level, horizon)
    shares = None if given.shares is None else _numbers("shares", given.shares)
    read = log.read(given.log, _named(given.columns), given.crossed)
    report = analysis.analyse(read, given.base, given.level, horizon, shares)
    print(pages.on_screen(report))
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    drawn = figures.available() and any(one["curve"] for one in report["lifts"])
    if drawn:
        figures.lifts(report, out / pages.FIGURE)
    files.write_bytes(out / "ab_test.md", pages.markdown(report, pages.FIGURE if drawn else None).encode())
    files.write_bytes(out / "ab_test.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"\n{out / 'ab_test.md'}")


def _named(columns: list[str]) -> dict[str, str]:
    from compressae_jax.notation import InputError, check_choice

    names = {}
    for one in columns:
        role, equals, name = one.partition("=")
        check_choice(f"columns ({one!r}): what stands before =", role, ROLES)
        if not (equals and name):
            raise InputError(f"columns must be as user=uid, not {one!r}")
        names[role] = name
    return names


def _numbers(flag: str, texts: list[str]) -> list[float]:
    from compressae_jax.notation import InputError

    if not texts:
        raise InputError(f"{flag} must be numbers, as 0.1,0.2, and is empty")
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise InputError(f"{flag} must be numbers, not {','.join(texts)}") from None
