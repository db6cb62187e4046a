"""What can be seen of a running service: log lines, metrics, times."""
