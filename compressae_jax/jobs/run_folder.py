"""The folder of a run: where everything lies in it, and what was written down about how it was made."""

MODEL, CODES, FOUND, CONFIG = "model", "codes", "found.npz", "config.json"
REPORT, PAGE, PER_QUERY = "report.json", "report.md", "per_query.npz"
