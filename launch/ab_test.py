"""Analyse or plan an A/B test: `python launch/ab_test.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("ab_test")
