//! When the state of the server is told.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_never_prepared_says_nothing() {
    let bench = bench(Memory::default());
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(bench.recorder.heartbeats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_frequent_after_a_start_and_then_periodic() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let at_start = bench.recorder.heartbeats().len();
    assert!(
        (10..=14).contains(&at_start),
        "{at_start} in the first minute"
    );
    tokio::time::sleep(Duration::from_secs(300)).await;
    let periodic = bench.recorder.heartbeats().len() - at_start;
    // report_interval is 30 s; the control plane gives a guest up after 90.
    assert!((9..=11).contains(&periodic), "{periodic} in five minutes");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_reported_within_a_probe_unless_an_operation_wants_it() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let last = || bench.recorder.heartbeats().last().cloned();
    let hold = bench.status.hold();
    bench.datastore.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(last().as_deref(), Some("healthy"));
    drop(hold);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(last().as_deref(), Some("shutdown"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_asked_for_once() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    bench.status.announce(Duration::from_secs(5)).await;
    bench.status.require_restart(true);
    bench.status.announce(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let asked = |status: &&String| *status == "restart required";
    assert_eq!(bench.recorder.heartbeats().iter().filter(asked).count(), 1);
    assert_eq!(
        bench.recorder.heartbeats().last().map(String::as_str),
        Some("healthy")
    );
}

/// A healthy server would be taken for the end of an upgrade that has not begun.
#[tokio::test(start_paused = true)]
async fn nothing_is_said_until_an_upgrade_is_over() {
    let bench = bench(Memory::default());
    bench.status.enter(Phase::Installed);
    let _cancel = bench.start_status();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let said = || bench.recorder.heartbeats().len();
    bench.operations.expect_upgrade();
    let before = said();
    let mute = bench.status.mute();
    bench.status.announce(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(said(), before);
    drop(mute);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(said(), before + 1);
    // None comes of it.
    bench.operations.expect_upgrade();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(said() > before + 1);
}
