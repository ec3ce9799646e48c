//! `module_list`, `module_apply` and `module_remove`, and the modules of new
//! instances.

use datastore::Result;
use serde_json::{Value, json};
use tracing::warn;

use super::Operations;
use crate::modules::Module;
use crate::rpc::context::Context;

impl Operations {
    /// The modules that the user may see.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub async fn module_list(&self, contents: bool, context: &Context) -> Result<Value> {
        let found = self.modules.list(contents, context.is_admin()).await?;
        Ok(json!(found))
    }

    /// Applies modules and tells how it went.
    ///
    /// # Errors
    /// When one of them is not for this guest.
    pub async fn module_apply(&self, modules: Vec<Module>) -> Result<Value> {
        let _turn = self.turns.change("module_apply").await?;
        Ok(json!(self.modules.apply(modules).await?))
    }

    /// Takes a module back.
    ///
    /// # Errors
    /// When it is not applied or cannot be taken back.
    pub async fn module_remove(&self, module: &Module) -> Result<()> {
        let _turn = self.turns.change("module_remove").await?;
        self.modules.remove(module).await
    }

    /// Applies the modules of a new instance; what there is to complain about.
    pub(super) async fn first_modules(&self, modules: Vec<Module>) -> Vec<String> {
        let applied = match self.modules.apply(modules).await {
            Ok(applied) => applied,
            Err(error) => return vec![format!("modules were not applied: {error}")],
        };
        let failed = applied.iter().filter(|one| !one.succeeded());
        failed
            .map(|one| {
                let why = one.message.as_deref().unwrap_or_default();
                format!("module '{}' was not applied: {why}", one.name)
            })
            .collect()
    }

    /// Brings the modules of a rebuilt instance to its new root disk. How that
    /// went is in the list; it does not fail the instance.
    pub(super) async fn modules_again(&self) {
        if let Err(error) = self.modules.apply_again().await {
            warn!(%error, "Modules not applied again.");
        }
    }
}
