"""The process that a command runs in."""
