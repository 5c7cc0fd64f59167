"""Kafka in: Faust agents that take a whole fetched batch at a time, and what makes their work survive everything."""
