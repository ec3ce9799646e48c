"""The second day of MySQL and MariaDB: groups, flavors, root disks, versions."""
