"""The scheduler of the batch side: a table of jobs, a lease for each, books of every run, and alerts."""
