"""For those who study convergence: trajectories, certificates, recommendations."""
