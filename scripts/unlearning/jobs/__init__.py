"""What every process needs, and no science in it: errors, files, locks, progress."""
