"""A producer with a ledger and an oracle that judge a run from outside: nothing here imports the product or its tests."""
