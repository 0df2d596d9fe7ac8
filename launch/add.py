"""Add vectors to an index folder: `python launch/add.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("add")
