"""Give back the room of removed rows of an index folder: `python launch/compact.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("compact")
