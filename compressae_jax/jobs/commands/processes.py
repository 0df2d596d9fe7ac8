"""The flags of a training on several hosts; how its processes meet is told in `training.processes`."""

from absl import flags


def define() -> None:
    """Where they meet, how many there are, which of them this is."""
    where = "host:port of process 0, where several processes train together; auto: found in a cluster's environment"
    flags.DEFINE_string("coordinator", None, f"{where}; none: each process is a run by itself.")
    flags.DEFINE_integer("num_processes", None, "How many processes train together.")
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def meet(given: flags.FlagValues) -> None:
    """Wait for the other processes, where flags say that there are any."""
    from compressae_jax.training import processes

    processes.start(given.coordinator, given.num_processes, given.process_id)
