"""The subcommands of `seedselect`, one per file."""
