"""Compress a source of vectors into a codes folder: `python launch/compress.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("compress")
