//! The two system calls that make a batch durable, behind a trait so that tests can inject failures.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Writes and syncs segment files.
pub(super) trait Disk: Send + Sync {
    /// Writes all bytes at this offset.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to the file is durable.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The operating system's disk.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
