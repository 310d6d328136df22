"""What is done to a platform as `admin`: set-up, users, rights, apps, first blocks. Imports no command."""
