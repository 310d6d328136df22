"""What an operator does: commands, doctor, the whole stack, the platform. Imports every other room."""
