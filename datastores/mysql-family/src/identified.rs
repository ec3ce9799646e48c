//! Statements that set a password.

use datastore::Secret;

use crate::Vendor;
use crate::errors::code;
use crate::session::{Session, SqlResult};
use crate::sql;

/// Runs `CREATE USER ...` or `ALTER USER ...` with an `IDENTIFIED BY` clause,
/// and `rest` after it.
///
/// MySQL writes the statement to its binary log with a hash in the place of
/// the password; MariaDB writes what it got, so it gets the hash. A MariaDB
/// that checks passwords refuses hashes (`strict_password_validation`) and
/// must see the password itself.
pub(crate) async fn run(
    session: &mut Session,
    statement: &str,
    password: &Secret,
    rest: &str,
) -> SqlResult<()> {
    if session.version().vendor == Vendor::MariaDb {
        let hash: Option<String> = session
            .first("SELECT PASSWORD(?)", (password.expose(),))
            .await?;
        let hash = sql::literal(&hash.unwrap_or_default());
        let hashed = format!("{statement} IDENTIFIED BY PASSWORD {hash}{rest}");
        let Err(error) = session.run(&hashed).await else {
            return Ok(());
        };
        // The reason is in the warnings, the error only says that it failed.
        let refused = code::OPTION_PREVENTS_STATEMENT;
        if error.code() != Some(refused) && session.warning(refused).await.is_none() {
            return Err(error);
        }
    }
    let password = sql::literal(password.expose());
    session
        .run(&format!("{statement} IDENTIFIED BY {password}{rest}"))
        .await
}
