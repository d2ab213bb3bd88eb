"""Published decoders and textbook ones, each trained and scored like the encoder."""
