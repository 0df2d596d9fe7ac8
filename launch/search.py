"""Search an index for the nearest rows of every query: `python launch/search.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("search")
