"""The simulated study: a world whose truth is known, its oracle, and the judge of its pictures."""
