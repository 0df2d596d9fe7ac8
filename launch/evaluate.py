"""Evaluate the model of a run folder: `python launch/evaluate.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("evaluate")
