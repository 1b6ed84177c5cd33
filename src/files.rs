//! Reads small files at paths that come from the settings, in bounded time and memory.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Reads a regular UTF-8 file of at most `most_bytes` bytes.
///
/// # Errors
/// If the path is not a regular file, or the content is larger, not UTF-8 or unreadable. The error never quotes the
/// content, so it may be logged for a file that holds a secret.
pub fn read_small_file(path: &Path, most_bytes: u32) -> io::Result<String> {
    // Opening a FIFO blocks until it has a writer, and a device may never reach its end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    // Reads one byte past the limit to detect a larger file: the length in its metadata can change during the read, and
    // is 0 in /proc.
    File::open(path)?.take(u64::from(most_bytes) + 1).read_to_end(&mut content)?;
    if u32::try_from(content.len()).is_ok_and(|bytes| bytes <= most_bytes) {
        return String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"));
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {most_bytes} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_device_or_directory_is_refused() {
        for path in ["/dev/zero", "/dev", "/absent"] {
            assert!(read_small_file(Path::new(path), 10).is_err(), "{path}");
        }
    }

    #[test]
    fn read_limit_counts_bytes_not_metadata() {
        let path = std::env::temp_dir().join(format!("edna-read-{}", uuid::Uuid::new_v4()));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_small_file(&path, 10).unwrap(), "0123456789");
        assert_eq!(read_small_file(&path, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::remove_file(&path).unwrap();
        // Its metadata gives a length of 0.
        assert_eq!(
            read_small_file(Path::new("/proc/self/status"), 10).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
