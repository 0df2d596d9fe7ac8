"""Score rankings by judgements: `python launch/judge.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("judge")
