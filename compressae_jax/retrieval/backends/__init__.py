"""What scores rows, one module a way, of one signature: `search(rows, space, u, top, *, chunk=None)`.

`host` (a CPU's own loops), `scan` (JAX devices) and `bcoo` (the reference) take rows of any kind as they are stored;
`lists` needs lists beside them.
"""
