"""Releases as tests see them: the present one's code, and the next one's beside it in the same process."""
