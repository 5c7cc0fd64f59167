"""A deterministic simulator: the real windows role over modelled servers, a virtual clock and a seeded scheduler."""
