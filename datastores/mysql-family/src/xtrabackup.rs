//! Percona XtraBackup, the tool for MySQL.

use crate::tool::Tool;

/// One release series for each of the server's: 2.4 for 5.7, and the same
/// numbers from 8.0 on. Transactions that are open at the end of a backup may
/// be committed in the next increment: none is rolled back before the last
/// one is in (XtraBackup manual, "Prepare an incremental backup").
pub(crate) const XTRABACKUP: Tool = Tool {
    programs: &["xtrabackup"],
    package: "percona-xtrabackup",
    keeps_open: true,
    names_increments: |own| own < (8, 0, 27),
};
