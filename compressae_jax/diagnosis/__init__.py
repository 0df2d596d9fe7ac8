"""Floor 5: what is wrong with a model, or with vectors for it: a finding a file; `registry` lists them."""
