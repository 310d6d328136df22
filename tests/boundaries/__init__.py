"""What decides is broken on purpose, one comparison at a time: a test must notice. See __main__.py."""
