//! What is published is the file, whatever happens to either.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datastore::Result;
use proptest::prelude::*;

use super::file::digest;
use super::*;

/// A log of an instance.
pub(super) fn log() -> Log {
    log_at(Path::new("/nonexistent/general.log"))
}

fn log_at(path: &Path) -> Log {
    Log {
        log: ServerLog {
            name: "general",
            kind: LogKind::User,
            path: path.to_owned(),
        },
        exposed: true,
        prefix: "guest-1/mysql-general/".to_owned(),
    }
}

/// Bytes and number of lines of each object, by name.
type Objects = BTreeMap<String, (Vec<u8>, Option<u64>)>;

/// Objects in memory; the store breaks down after some requests.
#[derive(Default)]
struct MemoryStore {
    objects: StdMutex<Objects>,
    left: AtomicUsize,
    /// Whether a request that fails was executed nevertheless.
    silently: bool,
}

impl MemoryStore {
    fn new(requests: usize, silently: bool) -> Self {
        Self {
            left: AtomicUsize::new(requests),
            silently,
            ..Self::default()
        }
    }

    fn published(&self, log: &Log) -> Vec<(String, Vec<u8>, u64)> {
        let objects = self.objects.lock().unwrap();
        let of_log = objects
            .iter()
            .filter(|(name, _)| name.starts_with(&log.prefix));
        of_log
            .map(|(name, (body, lines))| (name.clone(), body.clone(), lines.unwrap()))
            .collect()
    }

    fn content(&self, log: &Log) -> Vec<u8> {
        self.published(log)
            .into_iter()
            .flat_map(|(_, body, _)| body)
            .collect()
    }

    /// One request: whether it is executed, and its answer.
    fn request(&self) -> (bool, Result<()>) {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return (false, Err(Error::failed("the store is away")));
        }
        self.left.store(left - 1, Ordering::SeqCst);
        match left {
            1 => (self.silently, Err(Error::failed("the store broke down"))),
            _ => (true, Ok(())),
        }
    }
}

#[async_trait]
impl LogStore for MemoryStore {
    async fn ensure(&self) -> Result<()> {
        self.request().1
    }
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.request().1?;
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(name).map(|(body, _)| body.clone()))
    }
    async fn look(&self, name: &str) -> Result<Option<(u64, String)>> {
        self.request().1?;
        let objects = self.objects.lock().unwrap();
        Ok(objects
            .get(name)
            .map(|(body, _)| (body.len() as u64, digest(body))))
    }
    async fn put(&self, name: &str, body: Vec<u8>, lines: Option<u64>) -> Result<()> {
        let (executed, answer) = self.request();
        if executed {
            self.objects
                .lock()
                .unwrap()
                .insert(name.to_owned(), (body, lines));
        }
        answer
    }
    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.request().1?;
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(listed
            .map(|(name, (body, _))| (name.clone(), body.len() as u64))
            .collect())
    }
    async fn delete(&self, name: &str) -> Result<()> {
        let (executed, answer) = self.request();
        if executed {
            self.objects.lock().unwrap().remove(name);
        }
        answer
    }
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Event {
    Append(Vec<u8>),
    /// Emptied in place, then written to.
    Truncate(Vec<u8>),
    /// Renamed, and a new one begun.
    Rename(Vec<u8>),
    /// Published with a store that has these requests left.
    Interrupted(usize, bool),
    Publish,
    Discard,
}

fn events() -> impl Strategy<Value = Event> {
    let bytes = || {
        prop_oneof![
            4 => "[abä\n]{0,60}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..40),
        ]
    };
    prop_oneof![
        4 => bytes().prop_map(Event::Append),
        1 => bytes().prop_map(Event::Truncate),
        1 => bytes().prop_map(Event::Rename),
        2 => (1usize..16, any::<bool>()).prop_map(|(left, silently)| Event::Interrupted(left, silently)),
        3 => Just(Event::Publish),
        1 => Just(Event::Discard),
    ]
}

struct Scene {
    dir: tempfile::TempDir,
    path: PathBuf,
    log: Log,
    store: MemoryStore,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mysql-general.log");
        std::fs::write(&path, "").unwrap();
        Self {
            log: log_at(&path),
            store: MemoryStore::new(usize::MAX, false),
            path,
            dir,
        }
    }

    fn append(&self, bytes: &[u8]) {
        let file = std::fs::OpenOptions::new().append(true).open(&self.path);
        file.unwrap().write_all(bytes).unwrap();
    }

    async fn publish(&self, limit: usize) -> Result<()> {
        publish(&Publishing {
            log: &self.log,
            store: &self.store,
            limits: Limits {
                object: limit,
                time: Duration::from_secs(60),
            },
        })
        .await
    }

    async fn standing(&self) -> Standing {
        let meta = read(&self.store, &self.log).await.unwrap();
        let place = meta.as_ref().map_or(0, |meta| meta.log_size);
        let file = LogFile::open(&self.path).await.unwrap().unwrap();
        let facts = file.facts(place).await.unwrap();
        stand(true, false, Some(&facts), meta.as_ref())
    }

    /// Whether everything is published as it is in the file.
    async fn check(&self, limit: usize) -> std::result::Result<(), TestCaseError> {
        let content = std::fs::read(&self.path).unwrap();
        prop_assert_eq!(&self.store.content(&self.log), &content);
        for (name, body, lines) in self.store.published(&self.log) {
            prop_assert!(!body.is_empty() && body.len() <= limit, "{name}");
            prop_assert!(lines > 0);
        }
        let standing = self.standing().await;
        prop_assert_eq!(
            (standing.published, standing.pending),
            (content.len() as u64, 0)
        );
        Ok(())
    }

    async fn apply(
        &mut self,
        event: Event,
        limit: usize,
    ) -> std::result::Result<(), TestCaseError> {
        match event {
            Event::Append(bytes) => self.append(&bytes),
            Event::Truncate(bytes) => {
                std::fs::File::create(&self.path).unwrap();
                self.append(&bytes);
            }
            Event::Rename(bytes) => {
                std::fs::rename(&self.path, self.dir.path().join("old")).unwrap();
                std::fs::write(&self.path, &bytes).unwrap();
            }
            Event::Interrupted(left, silently) => {
                let objects = std::mem::take(&mut *self.store.objects.lock().unwrap());
                self.store = MemoryStore {
                    objects: StdMutex::new(objects),
                    ..MemoryStore::new(left, silently)
                };
                let _cut_off = self.publish(limit).await;
                self.store.left.store(usize::MAX, Ordering::SeqCst);
            }
            Event::Publish => {
                self.publish(limit).await.unwrap();
                // The start of a character waits for its rest once.
                self.publish(limit).await.unwrap();
                self.check(limit).await?;
            }
            Event::Discard => {
                discard(&self.store, &self.log).await.unwrap();
                prop_assert!(self.store.objects.lock().unwrap().is_empty());
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn objects_are_the_file(events in prop::collection::vec(events(), 1..14), limit in 4usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut scene = Scene::new();
            for event in events {
                scene.apply(event, limit).await?;
            }
            scene.apply(Event::Publish, limit).await
        })?;
    }
}

#[tokio::test]
async fn what_does_not_fit_the_time_is_for_the_next_publish() {
    let scene = Scene::new();
    scene.append(b"one\ntwo\nthree\n");
    let hurried = Publishing {
        log: &scene.log,
        store: &scene.store,
        limits: Limits {
            object: 5,
            time: Duration::ZERO,
        },
    };
    publish(&hurried).await.unwrap();
    assert_eq!(scene.store.content(&scene.log), b"one\n");
    assert_eq!(scene.standing().await.status, "Partial");
    publish(&hurried).await.unwrap();
    assert_eq!(scene.store.content(&scene.log), b"one\ntwo\n");
    scene.publish(5).await.unwrap();
    assert_eq!(scene.store.content(&scene.log), b"one\ntwo\nthree\n");
    assert_eq!(scene.standing().await.status, "Published");
}

#[tokio::test]
async fn upstreams_objects_go_on_only_if_they_are_the_file() {
    for (stored, kept) in [("one\n", true), ("one\n\n", false)] {
        let scene = Scene::new();
        scene.append(b"one\ntwo\n");
        let text = format!(
            r#"{{"log_name": "general", "log_type": "USER", "log_file": "/x", "log_size": 4,
                 "log_header_digest": "{}"}}"#,
            digest(b"one\n")
        );
        let first = format!("{}log-2020-01-01T00:00:00", scene.log.prefix);
        let metafile = scene.log.metafile();
        scene.store.put(&metafile, text.into(), None).await.unwrap();
        scene
            .store
            .put(&first, stored.into(), Some(1))
            .await
            .unwrap();
        scene.publish(100).await.unwrap();
        assert_eq!(scene.store.content(&scene.log), b"one\ntwo\n");
        let is_kept = scene
            .store
            .published(&scene.log)
            .iter()
            .any(|(name, ..)| *name == first);
        assert_eq!(is_kept, kept);
    }
}

#[tokio::test]
async fn links_are_not_followed() {
    let scene = Scene::new();
    std::fs::remove_file(&scene.path).unwrap();
    assert!(LogFile::open(&scene.path).await.unwrap().is_none());
    let error = scene.publish(10).await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    std::os::unix::fs::symlink("/etc/shadow", &scene.path).unwrap();
    assert!(LogFile::open(&scene.path).await.is_err());
}

#[test]
fn the_agents_own_log_is_among_them() {
    let settings = crate::config::tests::with_own("");
    let logs = Log::all(vec![log().log], &settings);
    let names: Vec<_> = logs
        .iter()
        .map(|log| (log.log.name, log.kind(), log.exposed))
        .collect();
    assert_eq!(names, [("general", "USER", true), ("guest", "SYS", false)]);
    assert!(logs[0].metafile().ends_with("-general_metafile"));
}
