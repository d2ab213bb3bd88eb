"""New recordings, decoded by an encoder of a finished study: what is handed on, and how it is used."""
