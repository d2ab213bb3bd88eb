"""What every room stands on: errors, params, environment, secrets, files, progress, and where shards run."""
