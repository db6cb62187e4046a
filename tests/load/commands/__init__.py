"""The subcommands, each with `add_arguments` and `run`."""
