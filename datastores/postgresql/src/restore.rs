//! From a chain of backups to a data directory.
//!
//! The mark of the restore is on the volume before the first byte, and stays
//! until the server has recovered to the end of the chain: what is interrupted
//! is neither started nor mistaken for data.
//!
//! The first links of a chain are the data: a full backup, and increments of
//! changed blocks. The others are WAL, which the server takes out of the
//! archive when it recovers.

use std::path::{Path, PathBuf};

use archive::{Format, Owner, UnpackError};
use datastore::{Archive, Error, ErrorKind, PrepareRequest, RestoreLink, RestoreSource, Result};
use managed::Scratch;
use tracing::info;

use crate::basebackup::BLOCKS;
use crate::errors::{io_failed, os_error};
use crate::label::{End, KIND_KEY, LABEL_FILE, Label};
use crate::marker::Marker;
use crate::place::{Cut, Descent, history_name, timeline_of_history};
use crate::{Server, ServerVersion};

/// Files without which there is no data. The last of them is the last of the
/// stream, but for WAL.
const SIGNS_OF_DATA: [&str; 3] = ["PG_VERSION", LABEL_FILE, "global/pg_control"];
/// The line by which a `backup_label` tells that its data is an increment.
const INCREMENT_LINE: &str = "INCREMENTAL FROM LSN";

/// What the server has to do at its first start on restored data.
#[derive(Debug)]
pub struct Recovery {
    /// The place it must reach, if the backups tell.
    pub(crate) end: Option<End>,
    /// Whether it is a replica, which goes on recovering.
    pub(crate) replica: bool,
    /// WAL of the chain, in the archive of a server that has not made it.
    pub(crate) archived: Vec<PathBuf>,
}

/// Which links are what.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// How many are data.
    data: usize,
}

impl Plan {
    fn of(links: &[RestoreLink]) -> Result<Self> {
        if links.is_empty() {
            return Err(Error::bad_request("There is no backup to restore"));
        }
        let is_blocks =
            |link: &RestoreLink| link.metadata.get(KIND_KEY).is_some_and(|k| k == BLOCKS);
        let data = 1 + links[1..].iter().take_while(|link| is_blocks(link)).count();
        for (index, link) in links.iter().enumerate() {
            if link.archive != Archive::Tar {
                return Err(Error::bad_request(format!(
                    "{} is not a backup of this datastore",
                    link.name()
                )));
            }
            if is_blocks(link) != (1..data).contains(&index) {
                return Err(Error::bad_request(format!(
                    "{} does not belong at its place in the chain of backups",
                    link.name()
                )));
            }
        }
        Ok(Self { data })
    }
}

/// What the names of directories of a restore begin with.
const SCRATCH: &str = ".restore-";

/// Removes what crashed restores have left on the volume.
pub(crate) fn sweep(volume: &Path) -> Result<()> {
    Scratch::sweep(volume, &[SCRATCH])
}

impl Server {
    /// Everything before the first start: configuration, and the data of the
    /// whole chain. The server must not run.
    pub async fn unpack_restore(
        &self,
        request: &PrepareRequest,
        source: &dyn RestoreSource,
    ) -> Result<Recovery> {
        let layout = &self.settings.layout;
        let plan = Plan::of(source.links())?;
        sweep(&layout.mount_point)?;
        self.ensure_directories()?;
        self.claim_data_dir(Marker::Restoring).await?;
        let wanted = request.datastore_version.as_deref();
        let wanted = match wanted.is_some() || layout.programs_dir.is_some() {
            true => Some(self.installed_version(wanted).await?),
            false => None,
        };
        self.install_configuration(request).await?;
        self.restore_data(&plan, source, wanted.as_ref()).await?;
        let mut archived = Vec::new();
        for index in plan.data..source.links().len() {
            let restored = self.restore_wal(source, index).await;
            archived.extend(restored.map_err(|error| about(source, index, error))?);
        }
        let last = source.links().last();
        let end = last.map_or(Ok(None), |link| End::of(&link.metadata))?;
        if let Some(end) = end {
            check_wal(&layout.data_dir(), &layout.wal_archive(), end)?;
        }
        let replica = request.replica.is_some();
        self.make_own(replica, true)?;
        self.finish_data_dir().await?;
        self.link_programs()?;
        self.write_access_rules()?;
        Ok(Recovery {
            end,
            replica,
            archived,
        })
    }

    /// Unpacks the data, in one part or in several.
    async fn restore_data(
        &self,
        plan: &Plan,
        source: &dyn RestoreSource,
        wanted: Option<&ServerVersion>,
    ) -> Result<()> {
        let (layout, account) = (&self.settings.layout, &self.settings.account);
        if plan.data == 1 {
            let dir = layout.data_dir();
            let unpacked = self.restore_part(source, 0, &dir, wanted).await;
            return unpacked.map(drop).map_err(|error| about(source, 0, error));
        }
        let mut parts = Vec::new();
        let mut programs = None;
        for index in 0..plan.data {
            let part = Scratch::new(&layout.mount_point, SCRATCH, &index.to_string(), account)?;
            let unpacked = self.restore_part(source, index, part.path(), wanted).await;
            programs = Some(unpacked.map_err(|error| about(source, index, error))?);
            parts.push(part);
        }
        if let Some(programs) = programs {
            self.combine(&programs, &parts).await?;
        }
        for part in parts {
            part.remove().await;
        }
        Ok(())
    }

    /// Unpacks one part and checks that it is whole; the programs for it.
    async fn restore_part(
        &self,
        source: &dyn RestoreSource,
        index: usize,
        dir: &Path,
        wanted: Option<&ServerVersion>,
    ) -> Result<PathBuf> {
        self.unpack_stream(source, index, dir).await?;
        if let Some(name) = SIGNS_OF_DATA.iter().find(|name| !dir.join(name).is_file()) {
            return Err(Error::failed(format!(
                "the backup is incomplete: it has no {name}"
            )));
        }
        let label = guest::read_optional(&dir.join(LABEL_FILE)).map_err(os_error)?;
        if label.unwrap_or_default().contains(INCREMENT_LINE) != (index > 0) {
            return Err(Error::bad_request(
                "the backup does not belong at its place in the chain",
            ));
        }
        let programs = self.programs_for(dir, wanted)?;
        self.verify(&programs, dir).await?;
        info!(
            location = source.links()[index].location,
            "Backup unpacked."
        );
        Ok(programs)
    }

    async fn unpack_stream(
        &self,
        source: &dyn RestoreSource,
        index: usize,
        dir: &Path,
    ) -> Result<()> {
        let account = &self.settings.account;
        let owner = Owner {
            uid: account.uid,
            gid: account.gid,
        };
        let bytes = source.open(index).await?;
        archive::unpack(Format::Tar, bytes, dir.to_owned(), owner)
            .await
            .map_err(|error| match error {
                UnpackError::Source(error) => {
                    let text = format!("the backup cannot be read: {error}");
                    Error::with_source(ErrorKind::Failed, text, error)
                }
                UnpackError::Archive(error) => Error::failed(format!(
                    "the archive cannot be unpacked, {error} (tablespaces and links are not \
                     supported)"
                )),
            })
    }

    /// Puts WAL into the archive; the files. A link begins with the file its
    /// parent ends in, which may have been incomplete there.
    async fn restore_wal(&self, source: &dyn RestoreSource, index: usize) -> Result<Vec<PathBuf>> {
        let layout = &self.settings.layout;
        let part = Scratch::new(&layout.mount_point, SCRATCH, "wal", &self.settings.account)?;
        self.unpack_stream(source, index, part.path()).await?;
        let failed = |error| io_failed("read", part.path(), error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(part.path()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let text = name.to_string_lossy();
            if Cut::DEFAULT.is_name(&text) || timeline_of_history(&text).is_some() {
                files.push(name);
                continue;
            }
            return Err(Error::bad_request(format!(
                "the backup has {text}, which is no WAL: it does not belong at its place in the \
                 chain"
            )));
        }
        if files.is_empty() {
            return Err(Error::failed("the backup is incomplete: it has no WAL"));
        }
        let mut archived = Vec::new();
        for name in files {
            let (from, to) = (part.path().join(&name), layout.wal_archive().join(&name));
            std::fs::rename(&from, &to).map_err(|error| io_failed("move", &from, error))?;
            archived.push(to);
        }
        part.remove().await;
        let location = &source.links()[index].location;
        info!(location, files = archived.len(), "WAL restored.");
        Ok(archived)
    }

    /// The programs of the version that wrote the data in `dir`, if that is
    /// the one wanted.
    pub(crate) fn programs_for(
        &self,
        dir: &Path,
        wanted: Option<&ServerVersion>,
    ) -> Result<PathBuf> {
        let layout = &self.settings.layout;
        let text = guest::read_optional(&dir.join("PG_VERSION")).map_err(os_error)?;
        let text = text.unwrap_or_default();
        let major: u32 = text.trim().parse().map_err(|_| {
            Error::failed(format!("PG_VERSION of the data holds no version: {text:?}"))
        })?;
        if let Some(wanted) = wanted
            && wanted.major != major
        {
            return Err(Error::bad_request(format!(
                "the data was written by PostgreSQL {major}, and this instance has {wanted}, \
                 which cannot read it: choose a datastore version of PostgreSQL {major}"
            )));
        }
        if let Some(programs) = &layout.programs_dir {
            return Ok(programs.clone());
        }
        let programs = layout.versions_dir.join(major.to_string()).join("bin");
        match programs.join("postgres").is_file() {
            true => Ok(programs),
            false => Err(Error::failed(format!(
                "the data was written by PostgreSQL {major}, which is not installed in {}",
                layout.versions_dir.display()
            ))),
        }
    }
}

/// What went wrong with a link.
fn about(source: &dyn RestoreSource, index: usize, error: Error) -> Error {
    let name = source.links()[index].name();
    let text = format!("Cannot restore {name}: {error}");
    Error::with_source(error.kind(), text, error)
}

/// Checks that every file of WAL is there that leads from the beginning of the
/// data to the end of the chain. The server would take a hole for the end.
fn check_wal(data: &Path, archive: &Path, end: End) -> Result<()> {
    let wal = data.join("pg_wal");
    let read = |path: &Path| guest::read_optional(path).map_err(os_error);
    let label = read(&data.join(LABEL_FILE))?.unwrap_or_default();
    let nonsense = || Error::failed("The backup does not tell where its WAL begins");
    let label = Label::parse(&label).ok_or_else(nonsense)?;
    let first = &label.start_file;
    let find = |name: &str| {
        [archive, &wal]
            .map(|dir| dir.join(name))
            .into_iter()
            .find(|path| path.is_file())
    };
    let hole = |name: &str| {
        Error::failed(format!(
            "The backups do not follow one another, {name} is missing between them: restore an \
             earlier backup of the chain"
        ))
    };
    let size = std::fs::metadata(find(first).ok_or_else(|| hole(first))?).map_err(os_error)?;
    let cut = Cut::of(size.len()).ok_or_else(nonsense)?;
    let (timeline, begin) = label.first_file(cut).ok_or_else(nonsense)?;
    let history = match find(&history_name(end.timeline)) {
        Some(path) => read(&path)?.unwrap_or_default(),
        None if end.timeline == timeline => String::new(),
        None => return Err(hole(&history_name(end.timeline))),
    };
    let descent = Descent::of(end.timeline, &history).ok_or_else(nonsense)?;
    for number in begin..=cut.ending(end.place) {
        let name = cut.name(descent.timeline_of(number, cut), number);
        let path = find(&name).ok_or_else(|| hole(&name))?;
        let found = std::fs::metadata(path).map_err(os_error)?;
        if found.len() != cut.size() {
            return Err(Error::failed(format!("The WAL file {name} is cut off")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datastore::BackupMetadata;

    use super::*;
    use crate::place::Lsn;

    fn links(kinds: &[&str]) -> Vec<RestoreLink> {
        let link = |kind: &&str| RestoreLink {
            location: format!("http://store/{kind}"),
            archive: Archive::Tar,
            metadata: BackupMetadata::from([(KIND_KEY.to_owned(), (*kind).to_owned())]),
        };
        kinds.iter().map(link).collect()
    }

    #[test]
    fn links_have_their_places() {
        let plan = |kinds: &[&str]| Plan::of(&links(kinds)).map(|plan| plan.data);
        assert_eq!(plan(&[""]).unwrap(), 1);
        assert_eq!(plan(&["", "wal", ""]).unwrap(), 1);
        assert_eq!(plan(&["", "blocks", "blocks"]).unwrap(), 3);
        assert_eq!(plan(&["", "blocks", ""]).unwrap(), 2);
        for kinds in [&[][..], &["blocks"], &["", "", "blocks"]] {
            assert!(plan(kinds).is_err(), "{kinds:?}");
        }
        let mut other = links(&["", ""]);
        other[1].archive = Archive::Xbstream;
        assert!(Plan::of(&other).is_err());
    }

    #[test]
    fn a_hole_in_the_wal_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (data, archive) = (dir.path().join("data"), dir.path().join("archive"));
        for dir in [&data.join("pg_wal"), &archive] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let cut = Cut::of(1 << 20).unwrap();
        let label = format!(
            "START WAL LOCATION: 0/200028 (file {})\nCHECKPOINT LOCATION: 0/200060\nLABEL: x\n",
            cut.name(1, 2)
        );
        std::fs::write(data.join(LABEL_FILE), label).unwrap();
        let make = |dir: &Path, number| {
            let file = std::fs::File::create(dir.join(cut.name(1, number))).unwrap();
            file.set_len(cut.size()).unwrap();
        };
        make(&data.join("pg_wal"), 2);
        make(&archive, 4);
        let end = |place| End {
            timeline: 1,
            place: Lsn::parse(place).unwrap(),
        };
        let check = |end| check_wal(&data, &archive, end);
        check(end("0/2ffff0")).unwrap();
        let text = check(end("0/400100")).unwrap_err().to_string();
        assert!(text.contains(&cut.name(1, 3)), "{text}");
        make(&archive, 3);
        check(end("0/400100")).unwrap();
        assert!(check(end("0/500001")).is_err());
        let text = check(End {
            timeline: 2,
            ..end("0/400100")
        })
        .unwrap_err()
        .to_string();
        assert!(text.contains("00000002.history"), "{text}");
        std::fs::write(archive.join(cut.name(1, 3)), "cut").unwrap();
        assert!(check(end("0/400100")).is_err());
    }
}
