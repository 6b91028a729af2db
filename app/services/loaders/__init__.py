"""One file for each kind of model file; each imports its heavy library when it loads."""
