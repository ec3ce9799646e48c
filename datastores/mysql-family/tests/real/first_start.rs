//! The first start of a server, from the network's point of view.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use datastore::PrepareRequest;
use mysql_async::prelude::Queryable;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Product, Site};

/// While the first start runs its statements, nobody without a password gets
/// in over the network, and nothing of it is left when it was interrupted.
async fn first_start(product: Product) {
    let site = Site::new(product);
    // Leftovers of an initialisation that was cut off are nobody's data.
    let layout = &site.settings().layout;
    std::fs::create_dir(layout.data_dir()).unwrap();
    std::fs::write(layout.data_dir().join("ibdata1"), "half").unwrap();
    let error = site.datastore.install(&site.request()).await.unwrap_err();
    assert!(error.to_string().contains("holds data"), "{error}");
    assert_eq!(
        std::fs::read(layout.data_dir().join("ibdata1")).unwrap(),
        b"half"
    );
    std::fs::write(layout.mount_point.join(".initialising"), "").unwrap();
    let request = PrepareRequest {
        overrides: serde_json::from_value(json!({"max_connections": 77, "local_infile": true}))
            .unwrap(),
        ..site.request()
    };
    site.datastore.install(&request).await.unwrap();
    let user = std::fs::read_to_string(layout.include_dir.join("20-user-001-common.cnf")).unwrap();
    assert_eq!(user, "[mysqld]\nlocal_infile = 1\nmax_connections = 77\n");

    let armed = site.datastore.arm_first_start().unwrap();
    let statements = std::fs::read_to_string(layout.init_file()).unwrap();
    let file = std::fs::metadata(layout.init_file()).unwrap();
    assert_eq!(
        (file.uid(), file.mode() & 0o777),
        (site.settings().account.uid, 0o600)
    );
    // A wide door for whoever might slip in.
    std::fs::write(layout.init_file(), format!("DO SLEEP(2);\n{statements}")).unwrap();
    let mut process = site.spawn();
    let secured = async {
        site.wait_healthy(&mut process).await;
    };
    let intruder = async {
        loop {
            for attempt in [
                site.login_tcp("root", "").await,
                site.login("root", "").await,
            ] {
                assert!(attempt.is_err(), "root got in without a password");
            }
        }
    };
    let early_x = async {
        if product == Product::Mysql {
            knock_at_x(&site).await;
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = secured => {}
        () = intruder => {}
        () = early_x => {}
    }
    drop(armed);
    site.datastore.check_secured().await.unwrap();
    let mut admin = site.admin().await;
    let settings: Option<(u32, u32)> = admin
        .query_first("SELECT @@max_connections, @@local_infile")
        .await
        .unwrap();
    assert_eq!(settings, Some((77, 1)));
    admin.disconnect().await.unwrap();
    assert!(!layout.init_file().exists());
    assert!(!layout.mount_point.join(".initialising").exists());
    process.stop().await;
}

/// The X protocol has a listener of its own: it must not talk before the
/// accounts are safe either.
async fn knock_at_x(site: &Site) {
    const CAPABILITIES_GET: [u8; 5] = [1, 0, 0, 0, 1];
    loop {
        let address = ("127.0.0.1", site.x_port);
        let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.write_all(&CAPABILITIES_GET).await.unwrap();
        let mut answer = [0; 1];
        if stream.read(&mut answer).await.is_ok_and(|read| read > 0) {
            // It talks: then it must know the administrator's password by now.
            assert!(site.login("root", "").await.is_err());
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    first_start(Product::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql() {
    first_start(Product::Mysql).await;
}
