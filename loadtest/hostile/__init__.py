"""What an app can send that no producer would: record batches made byte by byte, sent with its own login."""
