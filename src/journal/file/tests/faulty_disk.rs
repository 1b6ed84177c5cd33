//! A disk with injected faults.

use std::{
    fs::File,
    io,
    sync::{Condvar, Mutex},
    time::Duration,
};

use crate::{
    journal::file::disk::{Disk, SystemDisk},
    sync::lock,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The injected fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DiskFault {
    #[default]
    None,
    /// Half of each write succeeds, then the disk is full.
    Full,
    /// Writes succeed, syncs fail.
    SyncFails,
    /// Syncs block until the fault changes.
    SyncBlocks,
}

#[derive(Default)]
struct DiskStatus {
    fault: DiskFault,
    is_sync_blocked: bool,
    /// There was a write after the last sync.
    is_dirty: bool,
}

/// The system's disk with injected faults.
#[derive(Default)]
pub(super) struct FaultyDisk {
    status: Mutex<DiskStatus>,
    changed: Condvar,
}

impl FaultyDisk {
    pub(super) fn set(&self, fault: DiskFault) {
        lock(&self.status).fault = fault;
        self.changed.notify_all();
    }

    pub(super) fn is_dirty(&self) -> bool {
        lock(&self.status).is_dirty
    }

    pub(super) fn wait_until_sync_blocks(&self) {
        let status = lock(&self.status);
        let waited = self.changed.wait_timeout_while(status, TIMEOUT, |status| !status.is_sync_blocked);
        assert!(!waited.expect("not poisoned").1.timed_out(), "no sync has reached the disk");
    }
}

impl Disk for FaultyDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut status = lock(&self.status);
        status.is_dirty = true;
        if status.fault == DiskFault::Full {
            SystemDisk.write(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut status = lock(&self.status);
        status.is_sync_blocked = status.fault == DiskFault::SyncBlocks;
        self.changed.notify_all();
        let blocked = self.changed.wait_while(status, |status| status.fault == DiskFault::SyncBlocks);
        let mut status = blocked.expect("not poisoned");
        if status.fault == DiskFault::SyncFails {
            return Err(io::Error::other("input/output error"));
        }
        (status.is_sync_blocked, status.is_dirty) = (false, false);
        SystemDisk.sync(file)
    }
}
