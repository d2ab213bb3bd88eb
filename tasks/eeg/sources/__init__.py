"""One module per kind of study on disk, all behind `protocol.Source`."""
