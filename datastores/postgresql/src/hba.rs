//! Who may connect from where: the one place that writes `pg_hba.conf` and
//! `pg_ident.conf`. Both depend on the settings only, so that whoever writes
//! them anew never loses what somebody else had put there.
//!
//! The server takes the first line that fits. The superuser is let in over the
//! socket by the system account of the process and from nowhere else. The line
//! for replicas is always there: it lets in an account that only a source has,
//! to the WAL, and for `pg_rewind` to a database that is no tenant's.
//!
//! `md5` is the method for passwords of either kind: an account whose password
//! is kept as SCRAM verifier, as every one that the agent sets, is asked for
//! SCRAM. Only accounts of older guests answer with MD5.

use datastore::{Result, TlsMode};
use guest::Attributes;

use crate::errors::os_error;
use crate::server::{MAINTENANCE, REPLICATOR, SUPERUSER};
use crate::{Server, Settings, sql};

/// The map of system accounts to the superuser.
const MAP: &str = "trove";

/// Access rules hold no secret, and the server may not write what it obeys.
const PUBLIC: Attributes = Attributes {
    mode: 0o644,
    owner: None,
};

impl Server {
    /// Writes the files of access rules; the server reads them at its start and
    /// at a reload.
    pub(crate) fn write_access_rules(&self) -> Result<()> {
        self.let_in(&[])
    }

    /// The same, with `more` system accounts that may be the superuser.
    pub(crate) fn let_in(&self, more: &[&str]) -> Result<()> {
        let layout = &self.settings.layout;
        for (path, text) in [
            (&layout.hba_file, rules(self.tls_mode())),
            (&layout.ident_file, accounts(&self.settings, more)),
        ] {
            guest::write_atomic(path, text.as_bytes(), &PUBLIC).map_err(os_error)?;
        }
        Ok(())
    }
}

fn rules(tls: Option<TlsMode>) -> String {
    let (connection, method) = match tls {
        None | Some(TlsMode::Basic) => ("host", "md5"),
        Some(TlsMode::Enforced) => ("hostssl", "md5"),
        Some(TlsMode::Mtls) => ("hostssl", "cert clientcert=verify-full"),
    };
    format!(
        "# Written by the Trove guest agent; changes are lost.\n\
         local all {SUPERUSER} peer map={MAP}\n\
         local replication {SUPERUSER} peer map={MAP}\n\
         local all all md5\n\
         host all {SUPERUSER} all reject\n\
         host replication {SUPERUSER} all reject\n\
         {connection} replication {REPLICATOR} all scram-sha-256\n\
         {connection} {MAINTENANCE} {REPLICATOR} all scram-sha-256\n\
         host all {REPLICATOR} all reject\n\
         {connection} all all all {method}\n"
    )
}

fn accounts(settings: &Settings, more: &[&str]) -> String {
    let mut text = "# Written by the Trove guest agent; changes are lost.\n".to_owned();
    for account in [settings.agent_account.as_str()].iter().chain(more) {
        // A name with a blank or a comment sign would be read as something else.
        let account = sql::identifier(account);
        text.push_str(&format!("{MAP} {account} {SUPERUSER}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Option<TlsMode>; 4] = [
        None,
        Some(TlsMode::Basic),
        Some(TlsMode::Enforced),
        Some(TlsMode::Mtls),
    ];

    /// Lines by their fields, without comments.
    fn lines(tls: Option<TlsMode>) -> Vec<String> {
        let is_rule = |line: &&str| !line.starts_with('#');
        rules(tls)
            .lines()
            .filter(is_rule)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_superuser_comes_in_by_the_socket_only() {
        for tls in MODES {
            let lines = lines(tls);
            let fits = |kind: &str| {
                let by_name = |line: &str| line.split(' ').nth(2) == Some("postgres");
                let fits = |line: &&String| line.starts_with(kind) && by_name(line);
                lines.iter().find(fits).unwrap()
            };
            assert!(fits("local").ends_with("peer map=trove"));
            assert!(fits("host").ends_with("reject"));
            // Before anything that would let everybody in.
            let everybody = lines.iter().position(|line| line.contains("all all all"));
            let reject = lines.iter().rposition(|line| line.ends_with("reject"));
            assert!(reject < everybody);
            assert!(lines.iter().all(|line| !line.contains("trust")));
        }
    }

    #[test]
    fn replicas_are_let_in_whatever_the_mode() {
        for tls in MODES {
            let rule = " replication replicator all scram-sha-256";
            assert_eq!(
                lines(tls)
                    .iter()
                    .filter(|line| line.ends_with(rule))
                    .count(),
                1
            );
        }
    }

    #[test]
    fn enforced_means_that_nothing_comes_in_without_tls() {
        for &tls in &MODES[2..] {
            for line in lines(tls).iter().filter(|line| line.starts_with("host ")) {
                assert!(line.ends_with("reject"), "{line}");
            }
        }
        let mutual = lines(Some(TlsMode::Mtls)).pop().unwrap();
        assert!(mutual.ends_with("cert clientcert=verify-full"), "{mutual}");
    }
}
