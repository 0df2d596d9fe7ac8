"""Train, compress, search and evaluate for one config: `python launch/run.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("run")
