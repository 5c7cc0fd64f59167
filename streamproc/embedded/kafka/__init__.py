"""Apache Kafka on this machine: its jars, what one node is, and a cluster of one or three of them."""
