"""One page that shows what the latents of a model mean: `python launch/explore.py --help` says more."""

import door

if __name__ == "__main__":
    door.run("explore")
