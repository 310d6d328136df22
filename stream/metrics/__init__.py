"""What workers tell about themselves: counters, gauges, alerts, and the screen of `points status`."""
