"""The compiled loop of `additive`: bytes to values and columns."""

from compressae_jax.base.compiled import compiled


@compiled
def unpack(records, lengths, values, columns):
    """Write the atoms of records (n, k), of lengths (h,): those of a zero row have value 0."""
    k = records.shape[1]
    for row in range(len(records)):
        some = 0
        for j in range(k):
            some |= records[row, j]
        for j in range(k):
            column = 256 * j + records[row, j]
            columns[row, j] = column
            values[row, j] = lengths[column] if some else 0
