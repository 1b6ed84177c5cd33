//! Reads a small file that somebody named: whatever it is, this ends and takes little memory.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The text of a regular file of at most so many bytes.
///
/// # Errors
/// When it is no regular file, larger, not UTF-8, or cannot be read; the error's text never quotes the content.
pub fn read_file(path: &Path, most_bytes: u32) -> io::Result<String> {
    // Opening a pipe waits for somebody who writes, and a device need not end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut content = Vec::new();
    // One byte more, to tell: a file's length may be anything while it is being written, and 0 in /proc.
    File::open(path)?.take(u64::from(most_bytes) + 1).read_to_end(&mut content)?;
    if u32::try_from(content.len()).is_ok_and(|bytes| bytes <= most_bytes) {
        return String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most_bytes} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        for path in ["/dev/zero", "/dev", "/absent"] {
            assert!(read_file(Path::new(path), 10).is_err(), "{path}");
        }
    }

    #[test]
    fn the_length_that_counts_is_what_is_read() {
        let path = std::env::temp_dir().join(format!("edna-read-{}", uuid::Uuid::new_v4()));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_file(&path, 10).unwrap(), "0123456789");
        assert_eq!(read_file(&path, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::remove_file(&path).unwrap();
        // Its length is told as 0.
        assert_eq!(read_file(Path::new("/proc/self/status"), 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
