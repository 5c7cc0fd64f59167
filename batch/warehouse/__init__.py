"""The warehouse: dbt models over silver, and what runs and checks them."""
