"""From tidy results to tables, the map and verdicts. Nothing here imports torch."""
