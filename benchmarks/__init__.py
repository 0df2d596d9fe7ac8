"""One claim a script, each with its peers in the same run: `python -m benchmarks.NAME`; `all` runs those of speed."""
