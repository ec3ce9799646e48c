//! What accounts demand of their connections.

use datastore::TlsMode;

use crate::Vendor;
use crate::credentials::{OS_ADMIN, ROOT};
use crate::session::{Session, SqlResult};
use crate::users::UserId;

/// Accounts that replicas log in with, and that measure the server: their
/// owners have no certificates.
const REPLICATION: &str = "slave|_%";
const OWN: [&str; 2] = [OS_ADMIN, "exporter"];
/// Columns of `mysql.user`: nothing, TLS, TLS with a certificate, and a certain
/// one, which is the tenant's own business.
const NOTHING: &str = "";
const SPECIFIED: &str = "SPECIFIED";

/// The clause for accounts made in `mode`.
pub(crate) fn clause(mode: Option<TlsMode>) -> &'static str {
    match mode {
        None | Some(TlsMode::Basic) => "",
        Some(TlsMode::Enforced) => " REQUIRE SSL",
        Some(TlsMode::Mtls) => " REQUIRE X509",
    }
}

/// An account and what it demanded before.
#[derive(Debug)]
pub(crate) struct Demand {
    account: UserId,
    before: String,
}

/// Makes every account of the tenant's demand what `mode` does. Those that were
/// changed are added to `changed` one by one.
pub(crate) async fn demand(
    session: &mut Session,
    mode: Option<TlsMode>,
    changed: &mut Vec<Demand>,
) -> SqlResult<()> {
    let wanted = match mode {
        None | Some(TlsMode::Basic) => NOTHING,
        Some(TlsMode::Enforced) => "ANY",
        Some(TlsMode::Mtls) => "X509",
    };
    for found in tenants(session).await? {
        if found.before == SPECIFIED || found.before == wanted {
            continue;
        }
        require(session, &found.account, wanted).await?;
        changed.push(found);
    }
    Ok(())
}

/// Takes the changes back.
pub(crate) async fn take_back(session: &mut Session, changed: &[Demand]) -> SqlResult<()> {
    for demand in changed {
        require(session, &demand.account, &demand.before).await?;
    }
    Ok(())
}

async fn require(session: &mut Session, account: &UserId, kind: &str) -> SqlResult<()> {
    let what = match kind {
        NOTHING => "NONE",
        "ANY" => "SSL",
        _ => "X509",
    };
    session
        .run(&format!("ALTER USER {} REQUIRE {what}", account.quoted()))
        .await
}

async fn tenants(session: &mut Session) -> SqlResult<Vec<Demand>> {
    let mut query = "SELECT User, Host, CAST(ssl_type AS CHAR) FROM mysql.user \
         WHERE Host <> 'localhost' AND User NOT LIKE ? ESCAPE '|' AND User NOT IN (?, ?)"
        .to_owned();
    if session.version().vendor == Vendor::MariaDb {
        // Roles are rows, too.
        query += " AND is_role = 'N'";
    }
    let rows: Vec<(String, String, Option<String>)> =
        session.rows(&query, (REPLICATION, OWN[0], OWN[1])).await?;
    let mut found: Vec<Demand> = rows
        .into_iter()
        .map(|(name, host, before)| Demand {
            account: UserId { name, host },
            before: before.unwrap_or_default(),
        })
        .collect();
    // The tenant's administrator last: it is the one to mend what is broken.
    found.sort_by_key(|demand| demand.account.name == ROOT);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_made_later_demand_the_same() {
        assert_eq!(clause(None), "");
        assert_eq!(clause(Some(TlsMode::Basic)), "");
        assert_eq!(clause(Some(TlsMode::Enforced)), " REQUIRE SSL");
        assert_eq!(clause(Some(TlsMode::Mtls)), " REQUIRE X509");
    }
}
