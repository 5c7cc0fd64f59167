"""A made-up month of the whole company, and what the warehouse must make of it, computed apart from the product."""
