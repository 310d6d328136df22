"""What is done to a platform as `admin`: set-up, users, rights, quotas, apps, first blocks."""
