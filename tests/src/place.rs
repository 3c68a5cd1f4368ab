//! Where things are: the binaries under test, the peer's, the Python environments, temporary
//! folders and free ports. The only file that reads the environment.

use std::env;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Debian's broker, which the tests measure ours against.
pub const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// Ports the tests take: below Linux's ephemeral range (32768 up), so that an outgoing connection
/// of some other test never sits on a port we are about to listen on.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// Is `MQTTD_TEST_BROKER` set, so that the suite checks itself against the peer?
pub fn broker_is_peer() -> bool {
    env::var_os("MQTTD_TEST_BROKER").is_some()
}

/// Is `MQTTD_TEST_TOOLS=mosquitto` set?
pub fn tools_are_peer() -> bool {
    match env::var("MQTTD_TEST_TOOLS") {
        Ok(name) if name == "mosquitto" => true,
        Ok(name) if name.is_empty() || name == "mqttd" => false,
        Ok(name) => panic!("MQTTD_TEST_TOOLS={name}: only 'mosquitto' and 'mqttd' are known"),
        Err(_) => false,
    }
}

/// The broker under test: `MQTTD_TEST_BROKER`, or our `mqttd`.
pub fn broker_under_test() -> PathBuf {
    match env::var_os("MQTTD_TEST_BROKER") {
        Some(path) => PathBuf::from(path),
        None => our_binary("mqttd"),
    }
}

/// One of our binaries, as built by cargo.
pub fn our_binary(name: &str) -> PathBuf {
    if let Some(folder) = env::var_os("MQTTD_BIN_DIR") {
        let path = Path::new(&folder).join(name);
        assert!(path.is_file(), "MQTTD_BIN_DIR is set, but there is no {}", path.display());
        return path;
    }
    let mut folders = Vec::new();
    // target/debug/deps/walkthrough-0123 → target/debug: the profile this test was built with.
    if let Some(beside) =
        env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.into()))
    {
        folders.push(beside);
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| project_root().join("target"), PathBuf::from);
    folders.push(target.join("debug"));
    folders.push(target.join("release"));
    let found = folders.iter().map(|folder: &PathBuf| folder.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| {
        panic!("no {name} in {folders:?}: `cargo build --workspace --bins` comes first")
    })
}

/// One of the peer's programs. It must be there: the suite is not complete without it.
pub fn peer_binary(name: &str) -> PathBuf {
    let path = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{name} is not installed: run scripts/test-deps"))
}

/// The folder of the workspace.
pub fn project_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("tests/ lies in the workspace").to_path_buf()
}

/// Does the test run as root (as in most containers)? Brokers then drop to another user unless
/// told otherwise.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

/// Writes a line past the capture of the test harness: a skipped test must not look like a passed
/// one. `MQTTD_TEST_SKIPPED` names a file that collects the lines, for runners that capture more.
pub fn say_skipped(place: &str, reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let line = format!("SKIPPED {place}::{test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = env::var_os("MQTTD_TEST_SKIPPED") {
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
    }
}

/// A folder that disappears with the value; kept when the test fails, and its path printed.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// A new empty folder that this user alone may enter.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqttd-test-{}-{count}-{}", std::process::id(), noise());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        TempDir { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, as text.
    pub fn file(&self, name: &str) -> String {
        self.path.join(name).to_str().expect("we chose the name").to_string()
    }

    /// Writes a file into it, readable by its owner only, and returns the path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.file(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Default for TempDir {
    fn default() -> TempDir {
        TempDir::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for you: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A TCP port nobody listens on, kept from the other tests for as long as the value lives.
///
/// The UDP socket of the same number is the lock: it is exclusive, needs no file, and goes away
/// with the process however that ends.
#[derive(Debug)]
pub struct Port {
    /// The number.
    pub number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// Takes a free port.
    pub fn take() -> Port {
        let width = PORTS.end - PORTS.start;
        let start = noise();
        for step in 0..width {
            let number = (PORTS.start + (start + step * 7) % width) as u16;
            let Ok(lock) = UdpSocket::bind(("127.0.0.1", number)) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port in {PORTS:?}");
    }
}

/// A number that differs between processes and calls; only spreads names and ports.
fn noise() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let mixed = u64::from(now.subsec_nanos()) ^ (u64::from(std::process::id()) << 32);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32
}
