"""Floor 0: the ground that no floor is about: files, sealed JSON, loops, threads, devices, arrays, bootstrap."""
