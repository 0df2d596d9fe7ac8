"""Advise what to do with vectors: `python launch/advise.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("advise")
