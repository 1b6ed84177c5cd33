//! Private files, durable names, atomic replacement.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::error::StorageError;

/// Opens for reading and writing, and creates with the mode 0600.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.read(true).write(true).mode(0o600)
}

/// Writes a file atomically: under a draft name, synced, then renamed.
pub(super) fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StorageError> {
    let draft = path.with_extension("draft");
    let opened = private(OpenOptions::new().create(true).truncate(true)).open(&draft);
    let written = opened.and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&draft, path)).map_err(StorageError::io("write", path))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StorageError::io("sync", path))
}
