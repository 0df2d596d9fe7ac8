"""One module a command: its docstring is its help, `define` its flags (absl's), `main` the work of a job with them."""
