"""Verbs, in rooms. From the top: cli; operate; engine, embedded and query, which know nothing of each other;
telemetry; core; batches; and the floor on which all stand: settings, stack_file, folder, log, errors and
connections. A room imports those below it; pyproject.toml has it as contracts that `make lint` checks.
"""
