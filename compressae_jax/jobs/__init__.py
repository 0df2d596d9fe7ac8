"""Floor 6: the jobs as functions of (config, workdir); what they do lies below, flags and configs end here."""
