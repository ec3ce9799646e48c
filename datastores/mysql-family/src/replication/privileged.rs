//! Accounts that a read-only server would let write.
//!
//! MySQL has a mode for them, too. MariaDB has none before 12: whoever has
//! `READ_ONLY ADMIN` writes to a read-only server, and everybody with all
//! privileges has it, which the tenant's administrator is. It is of no other
//! use than that. Before 10.11 it cannot be taken from those who have `SUPER`.

use crate::session::{Session, SqlResult};
use crate::users::UserId;
use crate::{ServerVersion, Vendor, sessions};

/// Whether the privilege can be taken away (MariaDB manual, "GRANT").
pub(crate) fn is_revocable(version: &ServerVersion) -> bool {
    version.is_at_least(Vendor::MariaDb, (10, 11, 0))
}

/// Takes the privilege from an account.
pub(crate) async fn revoke(session: &mut Session, account: &UserId) -> SqlResult<()> {
    let statement = format!("REVOKE READ_ONLY ADMIN ON *.* FROM {}", account.quoted());
    session.run(&statement).await
}

/// Takes the privilege from everybody who comes from elsewhere, and ends the
/// sessions of those who had it.
pub(super) async fn revoke_all(session: &mut Session) -> SqlResult<()> {
    if !is_revocable(session.version()) {
        return Ok(());
    }
    // Grantees are in quotes, and quotes in them are not escaped.
    let query = "SELECT DISTINCT User, Host FROM mysql.user JOIN information_schema.USER_PRIVILEGES \
         ON GRANTEE = CONCAT('''', User, '''@''', Host, '''') \
         WHERE PRIVILEGE_TYPE LIKE 'READ_ONLY ADMIN' AND Host <> 'localhost'";
    let accounts: Vec<(String, String)> = session.rows(query, ()).await?;
    for (name, host) in accounts {
        let account = UserId { name, host };
        revoke(session, &account).await?;
        sessions::end(session, |other| other.user == account.name).await?;
    }
    Ok(())
}
