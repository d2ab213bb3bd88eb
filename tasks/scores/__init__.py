"""What a number is, and every score of the product."""
