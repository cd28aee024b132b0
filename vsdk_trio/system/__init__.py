"""The operating system: signals, the end of a program, threads, shortages, and /proc."""
