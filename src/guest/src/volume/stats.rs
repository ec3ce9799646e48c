use std::{io, path::Path};

use nix::sys::statvfs::statvfs;

/// Size and use of a mounted file system, as statvfs(3) counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemStats {
    /// The unit of the other numbers, in bytes.
    pub block_size: u64,
    /// Blocks of the whole file system.
    pub total_blocks: u64,
    /// Blocks not in use, including those only root may use.
    pub free_blocks: u64,
    /// Blocks that ordinary processes may still use.
    pub avail_blocks: u64,
}

/// Size and use of the file system that holds `path`.
pub fn filesystem_stats(path: &Path) -> io::Result<FilesystemStats> {
    let stats = statvfs(path)?;
    Ok(FilesystemStats {
        // statvfs(3): the counts are in units of f_frsize, not f_bsize.
        block_size: stats.fragment_size(),
        total_blocks: stats.blocks(),
        free_blocks: stats.blocks_free(),
        avail_blocks: stats.blocks_available(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_and_a_missing_path_is_an_error() {
        let stats = filesystem_stats(Path::new("/")).unwrap();
        assert!(
            stats.block_size >= 512 && stats.total_blocks > 0,
            "{stats:?}"
        );
        assert!(stats.avail_blocks <= stats.free_blocks, "{stats:?}");
        assert!(stats.free_blocks <= stats.total_blocks, "{stats:?}");
        let error = filesystem_stats(Path::new("/no/such/path")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
