"""Train one experiment: `python launch/train.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("train")
