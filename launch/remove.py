"""Remove rows from an index folder by their ids: `python launch/remove.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("remove")
