"""Serve an index over HTTP: search by vectors or ids, add, remove, a page at /; docs/SERVICE.md has every path.

compressae serve --index=runs/mine/index --port=8080
compressae serve --index=runs/quickstart/codes --model=runs/quickstart/model --payload=debian --dense=debian
COMPRESSAE_TOKEN=… compressae serve --index=runs/mine/index --host=0.0.0.0
"""

import os

from absl import flags

TOKEN = "COMPRESSAE_TOKEN"  # of the environment, which no list of processes shows
LONGEST_WAIT, LONGEST_POLL = 1000, 86_400  # milliseconds, seconds


def define() -> None:
    """Its flags."""
    flags.DEFINE_string(
        "index", None, "Index folder, or a codes folder with --model, which cannot be changed.", required=True
    )
    flags.DEFINE_string("model", None, "Model folder of a codes folder.")
    flags.DEFINE_string("space", None, "sparse, reconstructed or dense_query; default: the index's own.")
    flags.DEFINE_string("host", "127.0.0.1", f"Where to listen; beyond this machine only with a token in {TOKEN}.")
    flags.DEFINE_integer("port", 8080, "Where to listen; 0: a free one.")
    flags.DEFINE_string("payload", None, "Table of the items: .parquet, .csv or .tsv; or a dataset, for its names.")
    flags.DEFINE_string("payload_ids", "id", "Its column of ids, or of row numbers where rows have no ids.")
    flags.DEFINE_string("dense", None, "Vectors that the rows were made of, held in memory for the page to compare.")
    flags.DEFINE_string("dense_ids", None, "File of the dense vectors' ids, where rows have ids: one a line, or .npy.")
    flags.DEFINE_integer("probes", None, "Cells searched for requests that name no number; default: all rows.")
    flags.DEFINE_integer("top", 1000, "Results a query, at most.")
    flags.DEFINE_integer("queries", 1024, "Queries a request, at most.")
    flags.DEFINE_integer("body", 2**24, "Bytes of a request, at most.")
    flags.DEFINE_float("wait", 0.0, "Milliseconds that a request waits for others when nothing is under way.")
    flags.DEFINE_float("poll", 1.0, "Seconds between looks at the folder, whether others have changed it.")


def main(given: flags.FlagValues) -> None:
    """Open, listen, answer until a signal comes."""
    from compressae_jax import data
    from compressae_jax.notation import InputError, check_range

    check_range("port", given.port, 0, 2**16 - 1)
    for name, most in (("top", given.top), ("queries", given.queries), ("body", given.body)):
        check_range(name, most, 1, 2**31 - 1)
    if not 0 <= given.wait <= LONGEST_WAIT:
        raise InputError(f"wait must be from 0 to {LONGEST_WAIT} milliseconds, not {given.wait}")
    if not 0.01 <= given.poll <= LONGEST_POLL:
        raise InputError(f"poll must be from .01 to {LONGEST_POLL} seconds, not {given.poll}")
    try:
        from compressae_jax.service import app, payload, running
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'compressae_jax[serve]'") from None
    from compressae_jax.service.asked import Limits
    from compressae_jax.service.catalogue import Catalogue

    token = os.environ.get(TOKEN) or None
    loopback = running.is_loopback(given.host)
    if token is None and not loopback:
        raise InputError(f"host {given.host!r} lets others in, who need a token: set {TOKEN}, or leave --host out")
    listening = running.bound(given.host, given.port)
    catalogue = Catalogue(
        given.index,
        given.model,
        given.space,
        None if given.payload is None else payload.read(given.payload, given.payload_ids),
        None if given.dense is None else data.open_source(given.dense, ids=given.dense_ids),
        probes=given.probes,
    )
    limits = Limits(given.top, given.queries, given.body)
    service = app.Service(catalogue, limits, given.wait / 1000, given.poll, token, loopback)
    name, port = listening.getsockname()[:2]
    place = f"[{name}]" if ":" in name else name
    print(f"{len(catalogue.index):,} rows ({catalogue.index.space}) at http://{place}:{port}/", flush=True)
    running.run(service, listening)
