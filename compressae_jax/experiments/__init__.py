"""Experiments: one file a question, which says its cells, measures one, and tells what all of them found.

A cell is a small record of JSON values; its scores depend on nothing else. `bench` keeps what is measured and trains
each model once, `running` goes through the cells, `page` writes results.json, results.md and the figures.
"""
