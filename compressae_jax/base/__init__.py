"""Floor 0: the ground that no floor is about: files, sealed JSON, compiled loops, threads, devices, arrays."""
