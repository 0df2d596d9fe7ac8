"""The flags of a training on several hosts, and how its processes meet."""

from absl import flags


def define() -> None:
    """Where they meet, how many there are, which of them this is."""
    flags.DEFINE_string("coordinator", None, "host:port of process 0, where there are several processes.")
    flags.DEFINE_integer("num_processes", None, "How many processes train together.")
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def meet(given: flags.FlagValues) -> None:
    """Wait for the other processes, where flags say that there are any."""
    import jax

    if given.coordinator is not None:
        jax.distributed.initialize(given.coordinator, given.num_processes, given.process_id)
