"""The operating system's side of the service: sockets, signals, processes and exit codes."""
