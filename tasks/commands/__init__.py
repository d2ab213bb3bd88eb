"""The subcommands of `percept`, one file each: the parser on top, every other import inside the function."""
