"""The engine process: `Engine` starts the loops (tasks, indexing, sealing, schedule) and stops them in order."""
