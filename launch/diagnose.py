"""Diagnose a model, and vectors for it: `python launch/diagnose.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("diagnose")
