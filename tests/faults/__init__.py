"""One reproducible test for each fault of sinks, machine, Slack and events, with real workers on the embedded broker."""
