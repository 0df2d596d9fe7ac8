"""What a user would pick instead of sparse codes; one signature, `fit(vectors, budget) -> Flat`, a file each."""
