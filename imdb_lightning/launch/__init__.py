"""From a command line to running processes."""
