//! Static files below `http_dir`, and nothing else on the disk: paths are decoded once and taken
//! apart before the system sees them, and the system itself is told not to leave the folder
//! (openat2), whatever `..`, links or a race would make of the path.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::{Answer, Body};

/// How much of a file is in memory at a time.
const PIECE: u64 = 64 * 1024;

/// The path of a request's target, percent-decoded; `None` when it is none.
///
/// What has two readings is none: `%2F` is no separator and no part of a name, `%00` ends no name.
pub(super) fn decode(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?;
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let decoded = (digit()? * 16 + digit()?) as u8;
        if decoded == b'/' {
            return None;
        }
        bytes.push(decoded);
    }
    let path = String::from_utf8(bytes).ok()?;
    (!path.contains(char::is_control)).then_some(path)
}

/// The parts of a decoded path below the folder; `None` for one that names no file to show. Names
/// that begin with a dot are hidden, which covers `..` too.
fn parts(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix('/')?;
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"") {
        parts.pop();
    }
    let is_name = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    parts.iter().all(is_name).then_some(parts)
}

/// The file, or why there is none.
pub(super) async fn answer(folder: PathBuf, path: String) -> Answer {
    // A disk may be slow; the broker's threads do not wait for it.
    let found = tokio::task::spawn_blocking(move || find(&folder, &path)).await;
    found.unwrap_or_else(|_| Answer::not_found())
}

fn find(folder: &Path, path: &str) -> Answer {
    let Some(parts) = parts(path) else { return Answer::not_found() };
    let mut below: PathBuf = parts.iter().collect();
    if path.ends_with('/') {
        below.push("index.html");
    }
    let Some((file, about)) = open(folder, &below) else { return Answer::not_found() };
    if about.is_dir() {
        // Relative links on its page want the slash.
        let mut answer = Answer::text("301 Moved Permanently", "Moved.");
        answer.more = format!("Location: {}/\r\n", encode(path));
        return answer;
    }
    if !about.is_file() {
        return Answer::not_found();
    }
    Answer {
        status: "200 OK",
        content_type: content_type(&below),
        more: "Cache-Control: no-cache\r\n".to_owned(),
        body: Body::File(file, about.len()),
    }
}

fn open(folder: &Path, below: &Path) -> Option<(File, std::fs::Metadata)> {
    let folder = File::open(folder).ok()?;
    // Not to wait for the other end of a pipe that lies there.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    let opened = match openat2(&folder, below, how) {
        // Before Linux 5.6, or where a filter does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => open_without_links(folder.into(), below, flags),
        opened => opened,
    };
    let file = File::from(opened.ok()?);
    let about = file.metadata().ok()?;
    Some((file, about))
}

/// Step by step, through no link at all.
fn open_without_links(folder: OwnedFd, below: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut at = folder;
    for part in below.components() {
        let name = Path::new(part.as_os_str());
        at = openat(&at, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// A path as it may stand in a header.
fn encode(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

/// Reads a file piece by piece, off the broker's threads.
pub(super) struct Pieces {
    file: Option<File>,
    left: u64,
}

impl Pieces {
    /// As many bytes as were promised, whatever happens to the file meanwhile.
    pub(super) fn new(file: File, length: u64) -> Self {
        Self { file: Some(file), left: length }
    }

    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let wanted = self.left.min(PIECE);
        let Some(file) = self.file.take().filter(|_| wanted > 0) else { return Ok(None) };
        let read = move || {
            let mut piece = Vec::new();
            (&file).take(wanted).read_to_end(&mut piece)?;
            Ok::<_, io::Error>((file, piece))
        };
        let (file, piece) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= piece.len() as u64;
        self.file = Some(file);
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn targets_are_decoded_once_and_have_one_reading() {
        for (target, wanted) in [
            ("/", Some("/")),
            ("/a/b.html?x=/../y", Some("/a/b.html")),
            ("/a%20b", Some("/a b")),
            ("/%2e%2e/x", Some("/../x")),
            ("/%252e", Some("/%2e")),
            ("/%c3%bc", Some("/ü")),
            ("/%fc", None),
            ("/a%2fb", None),
            ("/a%00", None),
            ("/a%0d%0aX:", None),
            ("/%", None),
            ("/%4", None),
            ("/%+1", None),
            ("a", None),
            ("*", None),
            ("http://x/a", None),
        ] {
            assert_eq!(decode(target).as_deref(), wanted, "{target}");
        }
    }

    fn status(folder: &Path, path: &str) -> &'static str {
        &find(folder, path).status[..3]
    }

    #[test]
    fn nothing_outside_the_folder_is_shown() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("www");
        fs::create_dir_all(folder.join("sub/deep")).unwrap();
        for (name, at) in [("secret", outer.path()), ("page.html", &folder), (".hidden", &folder)] {
            fs::write(at.join(name), name).unwrap();
        }
        fs::write(folder.join("sub/index.html"), "sub").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink("/etc/passwd", folder.join("absolute")).unwrap();
        symlink("../..", folder.join("sub/up")).unwrap();
        symlink("page.html", folder.join("inside")).unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
        for (path, wanted) in [
            ("/page.html", "200"),
            ("/inside", "200"),
            ("/sub/", "200"),
            ("/sub", "301"),
            ("/", "404"),
            ("/sub/deep/", "404"),
            ("/absent", "404"),
            ("/page.html/x", "404"),
            ("/page.html/", "404"),
            ("/../secret", "404"),
            ("/sub/../../secret", "404"),
            ("/..", "404"),
            ("/.", "404"),
            ("//page.html", "404"),
            ("//etc/passwd", "404"),
            ("/sub//index.html", "404"),
            ("/.hidden", "404"),
            ("/..\\secret", "404"),
            ("/out", "404"),
            ("/absolute", "404"),
            ("/sub/up/secret", "404"),
            ("/pipe", "404"),
        ] {
            assert_eq!(status(&folder, path), wanted, "{path}");
        }
        assert_eq!(status(&outer.path().join("absent"), "/page.html"), "404");
    }

    /// What an old kernel gets: no link is followed, not even one that stays inside.
    #[test]
    fn without_openat2_no_link_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("sub")).unwrap();
        fs::write(outer.path().join("sub/a"), "a").unwrap();
        symlink("sub", outer.path().join("link")).unwrap();
        symlink("a", outer.path().join("sub/b")).unwrap();
        let open = |below: &str| {
            let folder = File::open(outer.path()).unwrap().into();
            open_without_links(folder, Path::new(below), OFlag::O_RDONLY).is_ok()
        };
        assert!(open("sub/a") && open("sub"));
        assert!(!open("link/a") && !open("sub/b") && !open("absent"));
    }

    #[test]
    fn a_redirect_has_no_second_line() {
        assert_eq!(encode("/a b/ü\""), "/a%20b/%C3%BC%22");
    }
}
