"""What one sees of a running node: logs and progress."""
