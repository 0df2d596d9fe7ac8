"""Serve an index over HTTP: `python launch/serve.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("serve")
