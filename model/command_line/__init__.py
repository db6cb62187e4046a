"""What the `cwic` command's subcommands share; see `model.cli`."""
