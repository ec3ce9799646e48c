"""What is special about PostgreSQL, in booted guests."""
