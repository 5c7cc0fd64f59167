"""The batch side: loads, dbt and the scheduler (docs/ says what is there yet)."""
