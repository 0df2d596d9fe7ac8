"""Merge what was found in several shards into one answer: `python launch/search.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("merge")
