"""From a problem and an algorithm to a solution: checks, measurements, the only outer loop."""
