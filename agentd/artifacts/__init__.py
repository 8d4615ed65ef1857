"""Gets the files of tasks: kept once per node by their contents, put into tasks' directories."""
