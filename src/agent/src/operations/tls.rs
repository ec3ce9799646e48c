//! `ssl_show`, `ssl_action` and `ssl_rollback`.

use datastore::{Error, Result, TlsMaterial, TlsMode};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::Operations;
use crate::tls::{self, Files, SavedState, StateFile};

/// What `ssl_action` is asked for.
#[derive(Debug, Default)]
pub struct TlsAction {
    /// The mode.
    pub mode: Option<String>,
    /// Certificate and key; without them those in place are meant.
    pub material: Option<TlsMaterial>,
    /// Switch TLS on.
    pub enable: bool,
    /// Switch it off.
    pub disable: bool,
}

impl Operations {
    /// Whether TLS is on, and with which certificate.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn tls_show(&self) -> Result<Value> {
        if !self.datastore.tls_enabled().await? {
            return Ok(json!({"status": "off"}));
        }
        let mut shown = json!({"status": "on", "mode": self.tls.mode().map(TlsMode::name)});
        // Some servers make themselves a certificate that is in no file.
        if let Some(pem) = self.present_files()?.certificate {
            match tls::details(&pem) {
                Ok(details) => shown["certificate"] = details,
                Err(error) => warn!(%error, "Certificate not shown."),
            }
        }
        Ok(shown)
    }

    /// Switches TLS on or off; after an error all is as it was.
    ///
    /// # Errors
    /// When the request or its material is no good, or the server refuses.
    pub async fn tls_action(&self, action: &TlsAction) -> Result<Value> {
        if action.enable && action.disable {
            return Err(Error::bad_request("Cannot enable and disable ssl"));
        }
        if !(action.enable || action.disable) {
            return Ok(json!({}));
        }
        let mode = match action.enable {
            true => Some(tls::mode_named(action.mode.as_deref().unwrap_or("basic"))?),
            false => None,
        };
        let material = action.material.as_ref().filter(|_| action.enable);
        if let (Some(material), Some(mode)) = (material, mode) {
            tls::validate(material, mode)?;
        }
        let _exclusive = self.turns.exclusive("ssl_action").await?;
        let before = self.tls_now().await?;
        let file = self.tls_state();
        let kept = file.keep()?;
        file.write(&before)?;
        match self.change_tls(mode, material, &before).await {
            Ok(restart) => {
                info!(
                    mode = mode.map_or("off", TlsMode::name),
                    restart, "TLS changed."
                );
                Ok(json!({"restart_required": restart}))
            }
            Err(refusal) => {
                if let Err(error) = kept.put_back() {
                    error!(%error, "Earlier state of TLS not put back.");
                }
                Err(refusal)
            }
        }
    }

    /// Goes back to what was before the last change, once.
    ///
    /// # Errors
    /// When nothing is known of it, or the server refuses.
    pub async fn tls_rollback(&self) -> Result<Value> {
        let _exclusive = self.turns.exclusive("ssl_rollback").await?;
        let file = self.tls_state();
        let saved = file.read()?;
        let mode = saved.mode()?;
        let (target, material) = target_of(&saved)?;
        let before = self.tls_now().await?;
        let restart = self
            .change_to(target, material.as_ref(), mode, &before)
            .await?;
        file.delete()?;
        info!(status = saved.status, "TLS rolled back.");
        Ok(json!({
            "status": saved.status,
            "restart_required": restart,
            "mode": mode.map(TlsMode::name),
        }))
    }

    async fn change_tls(
        &self,
        mode: Option<TlsMode>,
        material: Option<&TlsMaterial>,
        before: &SavedState,
    ) -> Result<bool> {
        self.change_to(mode, material, mode, before).await
    }

    /// Gives the server `target`, and the instance `mode`; both or neither.
    async fn change_to(
        &self,
        target: Option<TlsMode>,
        material: Option<&TlsMaterial>,
        mode: Option<TlsMode>,
        before: &SavedState,
    ) -> Result<bool> {
        let restart = self.datastore.set_tls(target, material).await?;
        let path = &self.backups.settings.guest_info;
        if let Err(refusal) = tls::write_mode(path, mode) {
            let (target, material) = target_of(before)?;
            if let Err(error) = self.datastore.set_tls(target, material.as_ref()).await {
                error!(%error, "TLS not put back as it was.");
            }
            return Err(refusal);
        }
        self.tls.set(mode);
        if restart {
            self.require_restart().await;
        }
        Ok(restart)
    }

    /// Remembers the mode that a replica has taken over from its source.
    pub(super) fn adopt_tls(&self, mode: Option<TlsMode>) -> Result<()> {
        if mode.is_none() || mode == self.tls.mode() {
            return Ok(());
        }
        tls::write_mode(&self.backups.settings.guest_info, mode)?;
        self.tls.set(mode);
        Ok(())
    }

    /// TLS as it is.
    async fn tls_now(&self) -> Result<SavedState> {
        let on = self.datastore.tls_enabled().await?;
        Ok(SavedState {
            status: if on { "on" } else { "off" }.to_owned(),
            mode: self.tls.mode().map(|mode| mode.name().to_owned()),
            files: match on {
                true => Some(self.present_files()?),
                false => None,
            },
        })
    }

    fn present_files(&self) -> Result<Files> {
        match self.datastore.tls_files() {
            Some(paths) => Files::read(&paths),
            None => Ok(Files::default()),
        }
    }

    fn tls_state(&self) -> StateFile {
        StateFile::new(&self.backups.settings.injected_config_location)
    }
}

/// What the server has to be given to be as it was: one that had TLS without
/// anybody's asking had it with its own files, or with none.
fn target_of(saved: &SavedState) -> Result<(Option<TlsMode>, Option<TlsMaterial>)> {
    let (mode, material) = (saved.mode()?, saved.material());
    if !saved.is_on() || (mode.is_none() && material.is_none()) {
        return Ok((None, None));
    }
    Ok((Some(mode.unwrap_or(TlsMode::Basic)), material))
}
