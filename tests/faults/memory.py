"""What the system says of this process's memory."""

import re
from pathlib import Path


def now(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmHWM is the peak of what was in use, RssAnon what no file can give."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def reset_peak() -> int:
    """Make the peak what is in use now, and give that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # a container may forbid it: then only the largest peak of all is seen
        return now("VmHWM")
    return now("VmRSS")
