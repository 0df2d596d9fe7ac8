"""Floor 2: from vectors to codes on disk, and from codes to the best rows."""
