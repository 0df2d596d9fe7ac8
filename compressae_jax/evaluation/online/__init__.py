"""Experiments on users: a log of impressions and clicks, lifts of the click-through rate, what a design could show."""
