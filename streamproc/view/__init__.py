"""What a person sees while the embedded stack runs: live view, status lines, commands to try, and the last summary."""
