"""Loading YouTube, against a double that answers by Google's discovery documents."""
