"""Apache Kafka itself, and what only a real broker allows."""
