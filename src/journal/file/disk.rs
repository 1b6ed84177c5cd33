//! The two calls that make a batch durable, apart so that tests can make them fail.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Where batches are written.
pub(super) trait Disk: Send + Sync {
    /// Writes all of it at this offset.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns when all that was written is durable.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The system's own.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
