"""What scores rows, one module a way, of one signature:

    search(rows, space, u, top, *, allowed=None, without=None, chunk=None) -> (scores (q, top), rows (q, top))

`host` (a CPU's own loops), `scan` (JAX devices) and `bcoo` (the reference) take rows of any kind as they are stored,
`scan` also those that lie on devices; `lists` takes lists made of them. `allowed` (n,) says which rows any query may
get, `without` which ones single queries must not; the results are those of a search of all rows, masked afterwards.
Places beyond the rows that are left have score -inf, row -1, whatever `top` is.
"""
