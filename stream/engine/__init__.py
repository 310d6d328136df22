"""What runs a worker: transport, cycle, recovery, archiving. Imports telemetry, core and what is below."""
