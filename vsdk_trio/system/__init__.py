"""What the operating system asks and refuses: signals, stopping, exit codes, threads."""
