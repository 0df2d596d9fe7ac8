"""Floor 5: what to do with somebody's vectors, measured on a sample of them; `advising` is the way in."""
