"""Value functions and solution maps that JAX can differentiate."""
