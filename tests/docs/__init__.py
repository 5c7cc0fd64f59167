"""The documents are held to what the code does."""
