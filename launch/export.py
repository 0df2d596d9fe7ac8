"""Upload an index into a search engine: `python launch/export.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("export")
