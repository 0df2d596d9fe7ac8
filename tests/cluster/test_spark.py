"""The Spark example on a real local Spark: the rows of one process, sorted by id."""

import shutil
import subprocess

import numpy as np
import pytest
from cluster import made

from compressae_jax import compression, data
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.joined import same
from compressae_jax.model import weights as model_weights

pytest.importorskip("pyspark")
pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine")


@pytest.mark.parametrize("model", ["model", "packed"])
def test_a_table_is_compressed_where_it_is(home, environment, tmp_path, model):
    options = ["--master=local[2]", "--conf=spark.ui.enabled=false", f"--conf=spark.local.dir={tmp_path}"]
    options += ["--conf=spark.sql.files.maxPartitionBytes=500000", "--conf=spark.driver.host=127.0.0.1"]
    options += ["--conf=spark.log.level=WARN"]
    flags = [f"--model={home.path}/{model}", f"--table={home.path}/vectors"]
    flags += [f"--out={tmp_path}/table", f"--codes={tmp_path}/codes"]
    command = ["spark-submit", *options, str(made.EXAMPLES / "spark_compress.py"), *flags]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert f"{made.N} rows" in done.stdout

    order = np.argsort(np.array(home.ids, object), kind="stable")
    weights = model_weights.load(home.path / model)
    wanted = compression.in_memory(weights, data.open_source(home.vectors[order]))
    found = codes_folder.read(tmp_path / "codes").rows
    assert same(found, wanted.with_ids(found.ids)) and found.ids == [home.ids[i] for i in order]
    assert len(list((tmp_path / "table").glob("part-*"))) > 1, "Spark did not cut it"
