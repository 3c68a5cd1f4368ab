//! Unix sockets: listening on a path with a mode, and connecting to one.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::stream::Stream;

/// Listens on `path`. A socket file that nobody listens on any more is removed first; with `mode`
/// the file gets these permissions (for example `0o660`), otherwise the process's umask decides.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another process listens there,
/// [`io::ErrorKind::AlreadyExists`] when the path is something else than a socket; what the system
/// says otherwise.
pub fn listen(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    if let Some(mode) = mode {
        set_mode(path, mode)?;
    }
    Ok(listener)
}

/// Gives the socket file other permissions.
///
/// # Errors
/// What the system says.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Connects to the socket at `path`.
///
/// # Errors
/// What the system says: no such file, nobody listens, no permission.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await.map(Stream::Unix)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let message = format!("{} is there and is not a socket; remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    // Only a refused connect proves that nobody listens; any other answer leaves the file alone.
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => {
            let message = format!("another process listens on {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerAddress;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sock");
        drop(listen(&path, None).unwrap());
        assert!(path.exists(), "the file stays behind, as after a crash");

        let living = listen(&path, Some(0o640)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let error = listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);

        let client = connect(&path).await.unwrap();
        assert_eq!(client.peer_address().unwrap(), PeerAddress::Unix);
        living.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "keep me").unwrap();
        let error = listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"keep me");
        assert_eq!(connect(&path).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
