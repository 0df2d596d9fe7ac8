"""A service of an index over HTTP: searches share scans, rows come and go, a page to look at it (extra `[serve]`)."""
