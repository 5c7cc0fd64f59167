"""YouTube's channels, videos and analytics, loaded page by page into bronze and silver."""
