"""Check a search engine by our exact search: `python launch/check_engine.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("check_engine")
