//! mariadb-backup, MariaDB's own tool.

use crate::tool::Tool;

/// It is released with the server. Since 10.2 it needs no `--apply-log-only`:
/// preparing never rolls back (MariaDB manual, "Incremental Backup and
/// Restore with mariadb-backup").
pub(crate) const MARIADB_BACKUP: Tool = Tool {
    // `mariabackup` until 10.4.
    programs: &["mariadb-backup", "mariabackup"],
    package: "mariadb-backup",
    keeps_open: false,
    names_increments: |_own| false,
};
