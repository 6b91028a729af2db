"""Speed and memory, each question one command, each figure a ratio against a peer or a limit in one run."""
