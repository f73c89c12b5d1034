"""Many settings of any function, each run once and kept."""
