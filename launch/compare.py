"""Put runs beside each other: `python launch/compare.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("compare")
