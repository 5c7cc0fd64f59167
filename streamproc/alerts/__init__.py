"""Alert rules and the engine that judges published values by them; pure: values in, transitions out."""
