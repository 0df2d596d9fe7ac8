"""Compress a Spark table, where it is, into one of ids and codes; then a codes folder of that, its rows sorted by id.

    spark-submit examples/spark_compress.py --model=model --table=s3a://a/items --out=s3a://a/codes --codes=/disk/codes

Executors need the package; the driver alone reads the model and writes the folder. OUT must not be there yet.
"""

import os

import numpy as np
import pyarrow as pa
from absl import app, flags
from pyspark.sql import SparkSession

import compressae_jax as cs
from compressae_jax.compression import encode_arrays, write_records

for name in ("model", "table", "id", "vector", "out", "codes"):
    flags.DEFINE_string(name, name, "A path; of --id and --vector the name of a column.")


def main(_):
    given, spark = flags.FLAGS, SparkSession.builder.getOrCreate()
    weights = cs.load(given.model).weights
    shared, names = spark.sparkContext.broadcast(weights), list(encode_arrays(weights, np.ones((1, weights.d))))

    def encoded(batches):
        os.environ.setdefault("COMPRESSAE_THREADS", "1")  # a task of Spark has one core
        for ids, vectors in batches:
            made = encode_arrays(shared.value, np.stack(vectors.to_numpy(zero_copy_only=False)))
            columns = [ids, *(pa.array(map(bytes, made[name])) for name in names)]
            yield pa.RecordBatch.from_arrays(columns, ["id", *names])

    table = spark.read.parquet(given.table).select(given.id, given.vector)
    schema = ", ".join([f"id {table.schema[0].dataType.simpleString()}", *(f"{name} binary" for name in names)])
    table.mapInArrow(encoded, schema).write.parquet(given.out)
    print(write_records(weights, spark.read.parquet(given.out).orderBy("id").toLocalIterator(), given.codes), "rows")


app.run(main)
