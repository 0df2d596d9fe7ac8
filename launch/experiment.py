"""The flags of an experiment, shared by train.py, evaluate.py and run.py."""

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, for example configs/default.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "Run folder: made, or continued.", required=True)
flags.mark_flag_as_required("config")
