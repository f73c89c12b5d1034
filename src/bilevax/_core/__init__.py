"""What everything uses: trees, numbers, costs, results."""
