"""Floor 0: a k-sparse row by itself."""
