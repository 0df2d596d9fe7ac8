"""What compression costs and saves: protocols with one score a query, intervals, and the report."""
