"""Public data sets from their publishers: resumable, checksummed, into the folder of their study."""
