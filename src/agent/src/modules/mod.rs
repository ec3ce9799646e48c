//! Modules: contents that tenants and operators have brought into guests, and
//! the drivers that do something with them.

mod applied;
mod driver;
mod new_relic;
mod pairs;
mod ping;
mod program;
mod request;
mod store;
#[cfg(test)]
mod tests;

use datastore::{Error, Result};
use tokio::sync::Mutex;
use tracing::{info, warn};

pub use applied::Applied;
pub use driver::Drivers;
pub use request::{Module, Wrapped};
pub use store::Store;

use driver::{Driver, Job};
use request::Contents;

/// What is applied meanwhile, in case nobody comes back to say more.
const INTERRUPTED: &str = "the guest agent was stopped in the middle of it";

/// The modules of this guest.
pub struct Modules {
    store: Mutex<Store>,
    drivers: Drivers,
    /// The datastore's manager.
    manager: &'static str,
}

/// A module that can be applied.
struct Checked {
    module: Module,
    contents: Contents,
    driver: Box<dyn Driver>,
}

impl Modules {
    /// The modules that `store` keeps, for a guest with this datastore manager.
    pub fn new(store: Store, drivers: Drivers, manager: &'static str) -> Self {
        Self {
            store: Mutex::new(store),
            drivers,
            manager,
        }
    }

    /// What is applied, newest first: to administrators all of it, to others
    /// what is visible. `contents` asks for the contents, too.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn list(&self, contents: bool, is_admin: bool) -> Result<Vec<Applied>> {
        let store = self.store.lock().await;
        let mut found = store.all()?;
        found.retain(|applied| applied.removed.is_none() && (is_admin || applied.visible));
        found.sort_by(|a, b| b.updated.cmp(&a.updated));
        if contents {
            for applied in &mut found {
                applied.contents = Some(match applied.is_admin && !is_admin {
                    true => request::encode(
                        format!(
                            "Must be admin to retrieve contents for module {}",
                            applied.name
                        )
                        .as_bytes(),
                    ),
                    false => request::encode(&store.contents(applied)?),
                });
            }
        }
        Ok(found)
    }

    /// Applies modules in their order. A driver that fails is told by the
    /// result; nothing is applied unless everything could be.
    ///
    /// # Errors
    /// When a module is not for this guest, is damaged, or cannot be kept.
    pub async fn apply(&self, modules: Vec<Module>) -> Result<Vec<Applied>> {
        let mut checked = Vec::new();
        for module in modules {
            checked.push(self.check(module)?);
        }
        checked.sort_by_key(|one| one.module.order());
        let store = self.store.lock().await;
        let mut results = Vec::new();
        for one in checked {
            results.push(apply(&store, one).await?);
        }
        Ok(results)
    }

    fn check(&self, module: Module) -> Result<Checked> {
        store::check_names(&module.kind, &module.id)?;
        let driver = self.drivers.find(&module.kind)?;
        module.check_datastore(self.manager)?;
        let contents = module.decoded()?;
        Ok(Checked {
            module,
            contents,
            driver,
        })
    }

    /// Takes a module back.
    ///
    /// # Errors
    /// When it is not applied, or its driver could not take it back: it then
    /// stays in the list.
    pub async fn remove(&self, module: &Module) -> Result<()> {
        store::check_names(&module.kind, &module.id)?;
        let driver = self.drivers.find(&module.kind)?;
        let store = self.store.lock().await;
        let applied = store.find(&module.kind, &module.id)?;
        let Some(mut applied) = applied.filter(|applied| applied.removed.is_none()) else {
            let name = &module.name;
            return Err(Error::not_found(format!(
                "Module '{name}' has not been applied"
            )));
        };
        let contents = store.contents(&applied)?;
        let message = driver.remove(&Job::of(&applied, &contents)).await?;
        applied.removed = Some(applied::now());
        store.write(&applied, None)?;
        info!(
            module = applied.name,
            kind = applied.kind,
            message,
            "Module removed."
        );
        Ok(())
    }

    /// Applies again what is kept, below a new root disk; the results tell how
    /// it went.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn apply_again(&self) -> Result<()> {
        let store = self.store.lock().await;
        let mut kept = store.all()?;
        kept.retain(|applied| applied.removed.is_none());
        kept.sort_by(|a, b| a.updated.cmp(&b.updated));
        for applied in kept {
            let contents = store.contents(&applied);
            let done = match (&contents, self.drivers.find(&applied.kind)) {
                (Ok(contents), Ok(driver)) => driver.apply(&Job::of(&applied, contents)).await,
                (Err(error), _) => Err(Error::failed(error.to_string())),
                (_, Err(error)) => Err(error),
            };
            store.write(&concluded(applied, done), contents.ok().as_ref())?;
        }
        Ok(())
    }

    /// Forgets everything: what is on the volume is another instance's.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn forget(&self) -> Result<()> {
        self.store.lock().await.clear()
    }
}

async fn apply(store: &Store, one: Checked) -> Result<Applied> {
    let before = store.find(&one.module.kind, &one.module.id)?;
    let mut applied = one.module.applied(before.as_ref());
    applied.fail(INTERRUPTED);
    store.write(&applied, Some(&one.contents))?;
    let done = one.driver.apply(&Job::of(&applied, &one.contents)).await;
    let applied = concluded(applied, done);
    store.write(&applied, Some(&one.contents))?;
    Ok(applied)
}

/// The result with what the driver said.
fn concluded(mut applied: Applied, done: Result<String>) -> Applied {
    let (module, kind) = (&applied.name, &applied.kind);
    match done {
        Ok(message) => {
            info!(module, kind, "Module applied.");
            applied.succeed(message);
        }
        Err(error) => {
            warn!(module, kind, %error, "Module not applied.");
            applied.fail(&error.to_string());
        }
    }
    applied
}
