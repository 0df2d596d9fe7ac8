"""Run an experiment and write its page: `python launch/reproduce.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("reproduce")
