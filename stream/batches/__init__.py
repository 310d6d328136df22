"""Record batches as they come from the broker, read whole or refused. Imports no other room."""
