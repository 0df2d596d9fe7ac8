"""Join codes folders that were compressed in parts into one: `python launch/join.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("join")
