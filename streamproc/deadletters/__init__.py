"""Dead letters: looking at them, and sending them again once each."""
