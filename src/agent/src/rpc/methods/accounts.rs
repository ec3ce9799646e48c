//! Databases, users, what they may do, and root.

use datastore::{Database, Page, PageRequest, PasswordChange, Secret, User, UserAttributes};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Args, ArgsError, Operations, Reply, done};

pub(super) async fn databases(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    match method {
        "create_database" => {
            let databases: Vec<Database> = args.required("databases")?;
            done(args)?;
            let _turn = operations.turns.change("create_database").await?;
            datastore.create_databases(&databases).await?;
            Ok(Value::Null)
        }
        "list_databases" => {
            let page = page_request(&mut args)?;
            done(args)?;
            Ok(page_reply(datastore.list_databases(&page).await?))
        }
        _ => {
            let database: Database = args.required("database")?;
            done(args)?;
            let _turn = operations.turns.change("delete_database").await?;
            datastore.delete_database(&database).await?;
            Ok(Value::Null)
        }
    }
}

pub(super) async fn users(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    match method {
        "create_user" => {
            let users: Vec<User> = args.required("users")?;
            done(args)?;
            let _turn = operations.turns.change("create_user").await?;
            datastore.create_users(&users).await?;
        }
        "list_users" => {
            let page = page_request(&mut args)?;
            done(args)?;
            return Ok(page_reply(datastore.list_users(&page).await?));
        }
        "delete_user" => {
            let user: User = args.required("user")?;
            done(args)?;
            let _turn = operations.turns.change("delete_user").await?;
            datastore.delete_user(&user).await?;
        }
        "get_user" => {
            let (name, host) = account(&mut args)?;
            done(args)?;
            return Ok(json!(datastore.get_user(&name, host.as_deref()).await?));
        }
        "update_attributes" => {
            let (name, host) = account(&mut args)?;
            let attributes: UserAttributes = args.required("user_attrs")?;
            done(args)?;
            let _turn = operations.turns.change("update_attributes").await?;
            datastore
                .update_attributes(&name, host.as_deref(), &attributes)
                .await?;
        }
        _ => {
            let changes: Vec<PasswordChange> = args.required("users")?;
            done(args)?;
            let _turn = operations.turns.change("change_passwords").await?;
            datastore.change_passwords(&changes).await?;
        }
    }
    Ok(Value::Null)
}

pub(super) async fn access(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    let (name, host) = account(&mut args)?;
    let host = host.as_deref();
    match method {
        "grant_access" => {
            let databases: Vec<String> = args.required("databases")?;
            done(args)?;
            let _turn = operations.turns.change("grant_access").await?;
            datastore.grant_access(&name, host, &databases).await?;
            Ok(Value::Null)
        }
        "revoke_access" => {
            let database: String = args.required("database")?;
            done(args)?;
            let _turn = operations.turns.change("revoke_access").await?;
            datastore.revoke_access(&name, host, &database).await?;
            Ok(Value::Null)
        }
        _ => {
            done(args)?;
            Ok(json!(datastore.list_access(&name, host).await?))
        }
    }
}

pub(super) async fn root(operations: &Operations, method: &str, mut args: Args) -> Reply {
    let datastore = &operations.datastore;
    let password = args.optional::<Secret>("root_password")?;
    done(args)?;
    match method {
        "is_root_enabled" => Ok(json!(datastore.is_root_enabled().await?)),
        "disable_root" => {
            let _turn = operations.turns.change("disable_root").await?;
            datastore.disable_root().await?;
            Ok(Value::Null)
        }
        _ => {
            let _turn = operations.turns.change("enable_root").await?;
            Ok(json!(datastore.enable_root(password.as_ref()).await?))
        }
    }
}

fn account(args: &mut Args) -> Result<(String, Option<String>), ArgsError> {
    Ok((args.required("username")?, args.optional("hostname")?))
}

fn page_request(args: &mut Args) -> Result<PageRequest, ArgsError> {
    Ok(PageRequest {
        limit: args.optional("limit")?,
        marker: args.optional("marker")?,
        include_marker: args.optional("include_marker")?.unwrap_or(false),
    })
}

fn page_reply<T: Serialize>(page: Page<T>) -> Value {
    json!([page.items, page.next_marker])
}
