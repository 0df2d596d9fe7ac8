"""The flags of every command."""

from absl import flags, logging  # noqa: F401, logging defines --verbosity


def define() -> None:
    """Threads, and whether progress shows."""
    flags.DEFINE_integer("threads", None, "Threads that work at once; default: the cores there are.")
    flags.DEFINE_boolean("progress", True, "Show progress; --noprogress: none.")
