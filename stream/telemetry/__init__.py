"""What workers tell of themselves: counters, gauges, alerts, a screen. Imports core and what is below."""
