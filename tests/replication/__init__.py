"""Sources and replicas of all datastores, in booted guests."""
