//! Which processes keep a file system busy.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// More names than this do not help anybody.
const SHOWN: usize = 5;

/// Names and numbers of processes with an open file, a working directory, a
/// root or a mapping at or below `directory`, in one line; empty when none is
/// seen. Only links of `/proc` are read, no file of the busy file system, so
/// that a dead disk does not block.
pub(super) fn of(directory: &Path) -> String {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if uses(&entry.path(), &directory) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.insert(pid, name.trim().to_owned());
        }
    }
    let total = found.len();
    let mut words: Vec<_> = found
        .into_iter()
        .take(SHOWN)
        .map(|(pid, name)| format!("{name} (process {pid})"))
        .collect();
    if total > SHOWN {
        words.push(format!("{} more", total - SHOWN));
    }
    words.join(", ")
}

fn uses(process: &Path, directory: &Path) -> bool {
    let open_files = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = ["cwd", "root", "exe"]
        .map(|name| process.join(name))
        .into_iter();
    links
        .chain(open_files.map(|entry| entry.path()))
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| target.starts_with(directory))
        || mapped(process)
            .iter()
            .any(|path| path.starts_with(directory))
}

/// Paths of `/proc/PID/maps`, the sixth column; mappings without a file have
/// none or one in brackets.
fn mapped(process: &Path) -> Vec<PathBuf> {
    let Ok(maps) = fs::read(process.join("maps")) else {
        return Vec::new();
    };
    String::from_utf8_lossy(&maps)
        .lines()
        .filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_and_working_directories_are_found() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(of(directory.path()), "");
        let file = fs::File::create(directory.path().join("open")).unwrap();
        let own = format!("(process {})", std::process::id());
        assert!(of(directory.path()).contains(&own));
        drop(file);
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let holders = of(directory.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(holders, format!("sleep (process {})", child.id()));
    }
}
