//! The real `mqtt-passwd`: its files, messages and exit codes, the prompt on a pseudo-terminal
//! (Python's `pty` holds the other end), and both ways between it and Debian's `mosquitto_passwd`
//! and `mosquitto`.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_auth::{PasswordFile, PasswordHash, PasswordText, Scheme, Verdict};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_mqtt-passwd");

/// A folder of its own for each test, and the tool run inside it.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, contents: &str) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(TOOL, args).output().unwrap())
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(TOOL, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs the tool on a pseudo-terminal of its own; each answer is typed once the tool has
    /// printed the text before it. `out` is all that appeared on the terminal.
    fn run_on_terminal(&self, args: &[&str], dialogue: &[(&str, &str)]) -> Ended {
        const DRIVER: &str = r#"
import os, pty, select, sys, time
count = int(sys.argv[1]); dialogue = sys.argv[2:2 + 2 * count]; args = sys.argv[2 + 2 * count:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(args[0], args)
shown = b""
seen = 0
deadline = time.monotonic() + 30
def take():
    global shown
    if time.monotonic() > deadline:
        sys.exit("the tool hangs after: %r" % shown)
    if not select.select([terminal], [], [], 0.2)[0]:
        return True
    try:
        more = os.read(terminal, 4096)
    except OSError:
        return False
    shown += more
    return bool(more)
for prompt, answer in zip(dialogue[::2], dialogue[1::2]):
    while prompt.encode() not in shown[seen:]:
        if not take():
            break
    seen = len(shown)
    time.sleep(0.1)
    os.write(terminal, answer.encode())
while take():
    pass
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"#;
        let count = dialogue.len().to_string();
        let mut command = self.command("python3", &["-c", DRIVER, &count]);
        command.args(dialogue.iter().flat_map(|(prompt, answer)| [prompt, answer]));
        Ended::of(command.arg(TOOL).args(args).output().unwrap())
    }
}

/// What a program left behind.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Ends with this code and one line on stderr that begins with the text and holds the cure.
    #[track_caller]
    fn fails(self, code: i32, text: &str, cure: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let message = self.err.strip_prefix("Error: ").unwrap_or_else(|| panic!("{self:?}"));
        assert!(message.contains(text), "{message}");
        assert!(message.contains(cure), "{message}");
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert_eq!(self.out, "");
    }
}

#[track_caller]
fn verify(contents: &str, user: &str, password: &str) -> Verdict {
    PasswordFile::parse(contents).unwrap().0.verify(user, password.as_bytes())
}

/// True when Debian's program is there. Missing, it is said aloud, and fatal where
/// `MQTTD_TESTS_REQUIRE_PEERS` is set.
fn has_peer(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        folders.any(|folder| folder.join(program).is_file())
    });
    if !found {
        let required = std::env::var_os("MQTTD_TESTS_REQUIRE_PEERS").is_some();
        assert!(!required, "{program} is missing: apt install mosquitto mosquitto-clients");
        eprintln!("SKIPPED: {program} is missing: apt install mosquitto mosquitto-clients");
    }
    found
}

#[test]
fn users_are_added_updated_and_deleted_and_other_lines_stay() {
    let room = Room::new();
    let added = room.run(&["-c", "-b", "pw", "ann", "a"]).succeeds();
    assert_eq!(added.out, "Adding password for user ann\n");
    assert_eq!(room.mode("pw"), 0o600);
    let commented = format!("# our users\n\n{}no colon here\n", room.read("pw"));
    room.write("pw", &commented);

    room.run(&["-b", "pw", "bob", "pässwörd ☃"]).succeeds();
    let updated = room.run(&["-b", "pw", "ann", "new"]).succeeds();
    assert_eq!(updated.out, "Updating password for user ann\n");
    let contents = room.read("pw");
    assert!(contents.starts_with("# our users\n\nann:$7$20000$"), "{contents}");
    assert!(contents.contains("\nno colon here\nbob:$7$20000$"), "{contents}");
    assert_eq!(verify(&contents, "ann", "new"), Verdict::Accepted);
    assert_eq!(verify(&contents, "ann", "a"), Verdict::WrongPassword);
    assert_eq!(verify(&contents, "bob", "pässwörd ☃"), Verdict::Accepted);

    room.run(&["-D", "pw", "ann"]).succeeds();
    let after = room.read("pw");
    assert_eq!(verify(&after, "ann", "new"), Verdict::UnknownUser);
    assert_eq!(verify(&after, "bob", "pässwörd ☃"), Verdict::Accepted);
    room.run(&["-D", "pw", "ann"]).fails(1, "user \"ann\" not found in pw", "");
    assert_eq!(room.read("pw"), after);
    assert_eq!(room.names(), ["pw"], "no temporary or lock file stays behind");
}

#[test]
fn every_hash_can_be_chosen() {
    let room = Room::new();
    for (args, head) in [
        (&["-cbH", "sha512", "pw", "ann", "a"][..], "ann:$6$"),
        (&["-cbI", "101", "pw", "ann", "a"], "ann:$7$101$"),
        (&["-cbH", "sha512-pbkdf2", "pw", "ann", "a"], "ann:$7$20000$"),
        (&["-cbH", "argon2id", "pw", "ann", "a"], "ann:$argon2id$v=19$m=47104,t=1,p=1$"),
    ] {
        room.run(args).succeeds();
        let contents = room.read("pw");
        assert!(contents.starts_with(head), "{contents}");
        assert_eq!(verify(&contents, "ann", "a"), Verdict::Accepted, "{contents}");
    }
}

#[test]
fn two_entries_of_one_password_have_different_salts() {
    let room = Room::new();
    let entry = || room.run(&["-cb", "-", "ann", "a"]).succeeds().out;
    let (first, second) = (entry(), entry());
    assert_ne!(first, second);
    assert_eq!(verify(&first, "ann", "a"), Verdict::Accepted);
    assert_eq!(first.lines().count(), 1, "only the entry is printed");
    assert!(room.names().is_empty(), "-c - writes no file");
}

#[test]
fn creating_over_a_file_with_users_keeps_them_in_a_backup() {
    let room = Room::new();
    room.run(&["-cb", "pw", "ann", "a"]).succeeds();
    let old = room.read("pw");
    fs::set_permissions(room.path("pw"), Permissions::from_mode(0o640)).unwrap();
    let ended = room.run(&["-cb", "pw", "bob", "b"]).succeeds();
    assert!(ended.err.starts_with("Warning: pw existed with 1 user; the old file is kept as pw.b"));
    assert_eq!(room.read("pw.backup"), old);
    assert_eq!((room.mode("pw"), room.mode("pw.backup")), (0o640, 0o640));
    assert_eq!(verify(&room.read("pw"), "ann", "a"), Verdict::UnknownUser);
    assert_eq!(verify(&room.read("pw"), "bob", "b"), Verdict::Accepted);

    room.write("empty", "# nobody yet\n");
    let ended = room.run(&["-cb", "empty", "bob", "b"]).succeeds();
    assert!(!ended.err.contains("existed"), "{ended:?}");
    assert!(!room.path("empty.backup").exists(), "there was nobody to lose");
}

#[test]
fn mode_and_owner_are_kept() {
    let room = Room::new();
    room.run(&["-cb", "pw", "ann", "a"]).succeeds();
    fs::set_permissions(room.path("pw"), Permissions::from_mode(0o644)).unwrap();
    let is_root = fs::metadata(room.path("pw")).unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(room.path("pw"), Some(1234), Some(4321)).unwrap();
    } else {
        eprintln!("SKIPPED in part: only root can give a file away, so the owner is not tried");
    }
    let ended = room.run(&["-b", "pw", "bob", "b"]).succeeds();
    assert!(ended.err.starts_with("Warning: every user of this machine can read pw"), "{ended:?}");
    assert_eq!(room.mode("pw"), 0o644);
    let owner = fs::metadata(room.path("pw")).map(|m| (m.uid(), m.gid())).unwrap();
    if is_root {
        assert_eq!(owner, (1234, 4321));
    }
}

#[test]
fn links_folders_and_missing_files_are_refused() {
    let room = Room::new();
    room.write("target", "ann:$6$x\n");
    symlink("target", room.path("link")).unwrap();
    symlink("nowhere", room.path("dangling")).unwrap();
    fs::create_dir(room.path("folder")).unwrap();
    let status = Command::new("mkfifo").arg(room.path("fifo")).status().unwrap();
    assert!(status.success());
    for args in [&["-b"][..], &["-cb"]] {
        let with = |file| [args, &[file, "bob", "b"]].concat();
        let link = "is a symbolic link to target, which is not followed";
        room.run(&with("link")).fails(1, link, "name the file itself");
        room.run(&with("dangling")).fails(1, "is a symbolic link to nowhere", "name the file");
        room.run(&with("folder")).fails(1, "folder is not a regular file", "name another");
        room.run(&with("fifo")).fails(1, "fifo is not a regular file", "name another");
        room.run(&with("no/pw")).fails(1, "cannot open no", "make the folder first");
    }
    room.run(&["-D", "link", "ann"]).fails(1, "is a symbolic link", "name the file itself");
    room.run(&["-U", "link"]).fails(1, "is a symbolic link", "name the file itself");
    room.run(&["-b", "none", "bob", "b"]).fails(1, "none does not exist", "mqtt-passwd -c FILE");
    room.run(&["-D", "none", "bob"]).fails(1, "none does not exist", "mqtt-passwd -c FILE");
    room.run(&["-U", "none"]).fails(1, "none does not exist", "mqtt-passwd -c FILE");
    assert_eq!(room.read("target"), "ann:$6$x\n");
    assert_eq!(room.names(), ["dangling", "fifo", "folder", "link", "target"]);
}

#[test]
fn bad_names_passwords_and_flags_are_refused_before_anything_is_written() {
    let room = Room::new();
    let long = "x".repeat(65_536);
    room.run(&["-cb", "pw", "a:b", "pw"]).fails(1, "must not contain ':'", "");
    room.run(&["-cb", "pw", "a\nb", "pw"]).fails(1, "must not contain control characters", "");
    room.run(&["-cb", "pw", "", "pw"]).fails(1, "the user name is empty", "");
    room.run(&["-cb", "pw", &long, "pw"]).fails(1, "longer than 65535 bytes", "");
    room.run(&["-cb", "pw", "ann", &long]).fails(1, "longer than 65535 bytes", "");
    room.run(&["-cb", "pw", "ann", ""]).fails(1, "the password is empty", "choose one");
    room.run(&["-H", "md5", "pw", "ann"]).fails(1, "invalid value 'md5'", "sha512-pbkdf2");
    room.run(&[]).fails(1, "FILE is missing", "mqtt-passwd --help");
    room.run(&["-c", "pw", "ann"]).fails(1, "no terminal to ask", "mqtt-passwd -b FILE USER");
    assert!(room.names().is_empty());
    room.run(&["-cb", "pw", &long[1..], &long[1..]]).succeeds();
    assert_eq!(verify(&room.read("pw"), &long[1..], &long[1..]), Verdict::Accepted);
}

#[test]
fn plain_files_are_hashed_once() {
    let room = Room::new();
    room.write("pw", "# plain\nann:secret\nbob: two words: one colon \r\nnoise\n");
    let ended = room.run(&["-U", "pw"]).succeeds();
    assert_eq!(ended.out, "Hashed 2 passwords\n");
    assert!(ended.err.starts_with("Warning: pw line 4: skipped, no ':' in it"), "{}", ended.err);
    let contents = room.read("pw");
    assert_eq!(verify(&contents, "ann", "secret"), Verdict::Accepted);
    assert_eq!(verify(&contents, "bob", "two words: one colon"), Verdict::Accepted);
    assert!(contents.starts_with("# plain\nann:$7$"), "{contents}");

    room.write("pw", &format!("{contents}carl:new\n"));
    let ended = room.run(&["-U", "-H", "sha512", "pw"]).succeeds();
    assert_eq!(ended.out, "Hashed 1 password\nLeft 2 alone that were hashed already\n");
    assert!(room.read("pw").starts_with(&contents), "hashed entries stay as they were");
    assert_eq!(verify(&room.read("pw"), "carl", "new"), Verdict::Accepted);

    for (file, text, cure) in [
        ("ann:a\nbob:$7$101$x\n", "pw line 2: the hash is cut short", "mqtt-passwd FILE USER"),
        ("ann:a\nann:b\n", "pw line 2: user \"ann\" stands on line 1", "delete one"),
    ] {
        room.write("pw", file);
        room.run(&["-U", "pw"]).fails(1, text, cure);
        assert_eq!(room.read("pw"), file, "all or nothing");
    }
    fs::write(room.path("pw"), b"ann:a\nb\xffb:x\n").unwrap();
    room.run(&["-U", "pw"]).fails(1, "pw line 2: not UTF-8", "iconv");
}

#[test]
fn the_prompt_asks_twice_without_echo() {
    let room = Room::new();
    let asked = |second| [("Password: ", "s3cr€t\n"), ("Reenter password: ", second)];
    let ended = room.run_on_terminal(&["-c", "pw", "ann"], &asked("s3cr€t\n")).succeeds();
    assert!(ended.out.contains("Password: ") && ended.out.contains("Reenter password: "));
    assert!(!ended.out.contains("s3cr"), "the password must not be shown: {}", ended.out);
    assert!(ended.out.ends_with("Adding password for user ann\r\n"), "{}", ended.out);
    let before = room.read("pw");
    assert_eq!(verify(&before, "ann", "s3cr€t"), Verdict::Accepted);

    let ended = room.run_on_terminal(&["pw", "ann"], &asked("other\n"));
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.ends_with("Error: Passwords do not match.\r\n"), "{}", ended.out);

    let ended = room.run_on_terminal(&["pw", "ann"], &[("Password: ", "\n")]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.ends_with("Error: the password is empty; choose one\r\n"), "{}", ended.out);

    let ended = room.run_on_terminal(&["pw", "ann"], &[("Password: ", "half\u{3}")]);
    assert_ne!(ended.code, 0, "interrupted: {ended:?}");
    assert_eq!(room.read("pw"), before, "none of these changed the file");

    let typed = room.run_on_terminal(&["pw", "bob"], &asked("s3cr€t\n")).succeeds();
    assert!(typed.out.ends_with("Adding password for user bob\r\n"), "{}", typed.out);
    assert_eq!(verify(&room.read("pw"), "bob", "s3cr€t"), Verdict::Accepted);
}

#[test]
fn a_pipe_gives_the_password_on_two_lines() {
    let room = Room::new();
    room.run_with_input(&["-c", "pw", "ann"], "a b\na b\n").succeeds();
    assert_eq!(verify(&room.read("pw"), "ann", "a b"), Verdict::Accepted);
    let before = room.read("pw");
    room.run_with_input(&["pw", "ann"], "a\nb\n").fails(2, "Passwords do not match.", "");
    room.run_with_input(&["pw", "ann"], "a\n").fails(2, "Passwords do not match.", "");
    room.run_with_input(&["pw", "ann"], "\n\n").fails(1, "the password is empty", "choose");
    room.run_with_input(&["pw", "ann"], "").fails(1, "no terminal to ask", "-b");
    assert_eq!(room.read("pw"), before);
}

#[test]
fn many_instances_at_once_lose_no_user() {
    let room = Room::new();
    room.write("pw", "");
    let children: Vec<Child> = (0..20)
        .map(|n| {
            let user = format!("user{n}");
            let mut command = room.command(TOOL, &["-b", "-I", "1", "pw", &user, "x"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(PasswordFile::parse(&room.read("pw")).unwrap().0.len(), 20);
    assert_eq!(room.names(), ["pw"]);
}

#[test]
fn a_second_instance_gives_up_when_the_first_keeps_the_lock() {
    let room = Room::new();
    room.write("pw", "");
    let folder = fs::File::open(room.0.path()).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ended = room.run(&["-b", "-I", "1", "pw", "ann", "x"]);
    ended.fails(1, "another mqtt-passwd is writing in the folder of pw", "try again");
    drop(folder);
    room.run(&["-b", "-I", "1", "pw", "ann", "x"]).succeeds();
}

/// Whoever reads while users are added sees the old file or the new one, whole.
#[test]
fn a_reader_never_sees_half_a_file() {
    let room = Room::new();
    room.write("pw", "");
    let path = room.path("pw");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = &is_over;
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let (mut reads, mut users) = (0, 0);
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let text = fs::read_to_string(&path).expect("there is a file at any time");
                let now = PasswordFile::parse(&text).expect("a whole file").0.len();
                assert!(now >= users, "{users} users became {now}");
                (reads, users) = (reads + 1, now);
            }
            reads
        });
        for number in 0..30 {
            room.run(&["-b", "-I", "1", "pw", &format!("user{number}"), "x"]).succeeds();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reading.join().unwrap() > 30, "hardly ever looked");
    });
}

/// The same lines to both tools, each in a folder of its own: the same exit code, the same users
/// with the same kind of hash, and hashes that let the same passwords in.
#[test]
fn flags_do_what_they_do_in_debians_tool() {
    if !has_peer("mosquitto_passwd") {
        return;
    }
    let (left, right) = (Room::new(), Room::new());
    for room in [&left, &right] {
        room.write("plain", "ann:one\nbob:two\n");
        symlink(TOOL, room.path("ours")).unwrap();
    }
    let users = |room: &Room, file: &str| -> Vec<(String, String)> {
        let text = fs::read_to_string(room.path(file)).unwrap_or_default();
        let entries = text.lines().filter_map(|line| line.split_once(':'));
        entries.map(|(user, hash)| (user.to_owned(), hash[..3].to_owned())).collect()
    };
    for args in [
        &["-b", "none", "ann", "x"][..],
        &["-c", "-b", "pw", "ann", "first"],
        &["-b", "pw", "bob", "second"],
        &["-b", "pw", "ann", "third"],
        &["-H", "sha512", "-b", "pw", "eve", "fourth"],
        &["-H", "sha512-pbkdf2", "-b", "pw", "dan", "fifth"],
        &["-H", "nothing", "-b", "pw", "zoe", "x"],
        &["-D", "pw", "bob"],
        &["-c", "-D", "pw", "ann"],
        &["-D", "-b", "pw", "ann"],
        &["-U", "plain"],
        &["-U", "none"],
        &["-b", "pw", "ann"],
        &["-b", "pw"],
        &["-b", "pw", "a:b", "x"],
        &["-c", "-b", "pw", "only", "sixth"],
    ] {
        let ours = Ended::of(left.command(TOOL, args).output().unwrap());
        let theirs = Ended::of(right.command("mosquitto_passwd", args).output().unwrap());
        assert_eq!(ours.code == 0, theirs.code == 0, "{args:?}: {ours:?} beside {theirs:?}");
        for file in ["pw", "plain", "none"] {
            assert_eq!(users(&left, file), users(&right, file), "{args:?}: {file}");
        }
    }
    for room in [&left, &right] {
        assert_eq!(verify(&room.read("pw"), "only", "sixth"), Verdict::Accepted);
        assert_eq!(verify(&room.read("plain"), "bob", "two"), Verdict::Accepted);
    }
}

/// Mistakes that Debian's tool names, word for word.
#[test]
fn mistakes_have_mosquittos_words_under_its_name() {
    if !has_peer("mosquitto_passwd") {
        return;
    }
    let room = Room::new();
    room.write("pw", "ann:$7$101$QUFBQUFBQUFBQUFB$QUFB\n");
    symlink(TOOL, room.path("mosquitto_passwd")).unwrap();
    let ours = room.path("mosquitto_passwd");
    for args in [
        &["-H"][..],
        &["-H", "nohash"],
        &["-I"],
        &["-I", "0"],
        &["-I", "x", "pw", "ann"],
        &["-c", "-D"],
        &["-c", "-U"],
        &["-U", "-D"],
        &["-b", "-D"],
        &["-c", "-b", "pw", "ann"],
        &["-c"],
        &["-D", "pw"],
        &["-U"],
        &["-D", "pw", "bad:name"],
        &["-D", "pw", "bad\nname"],
        &["-D", "pw", "bob"],
        &["-D", "none", "ann"],
        &["-U", "none"],
        &["-b", "none", "ann", "x"],
    ] {
        let ours = Ended::of(room.command(ours.to_str().unwrap(), args).output().unwrap());
        let theirs = Ended::of(room.command("mosquitto_passwd", args).output().unwrap());
        let said = |ended: &Ended| (ended.code, ended.err.trim_end().to_owned());
        assert_eq!(said(&ours), said(&theirs), "{args:?}");
        assert!(!theirs.err.is_empty(), "{args:?}");
    }
}

#[test]
fn the_name_of_mosquittos_tool_works_the_same() {
    let room = Room::new();
    symlink(TOOL, room.path("mosquitto_passwd")).unwrap();
    let tool = room.path("mosquitto_passwd");
    let mut command = room.command(tool.to_str().unwrap(), &["-c", "-b", "pw", "ann", "a"]);
    Ended::of(command.output().unwrap()).succeeds();
    assert_eq!(verify(&room.read("pw"), "ann", "a"), Verdict::Accepted);
    let help = room.run(&["--help"]).succeeds().out;
    assert!(help.contains("Examples:\n  mqtt-passwd -c pwfile alice"), "{help}");
    assert!(room.run(&["--version"]).succeeds().out.starts_with("mqtt-passwd "));
}

#[test]
fn files_of_debians_tool_verify_here() {
    if !has_peer("mosquitto_passwd") {
        return;
    }
    let room = Room::new();
    let theirs = |args: &[&str]| {
        Ended::of(room.command("mosquitto_passwd", args).output().unwrap()).succeeds();
    };
    theirs(&["-c", "-b", "pw", "ann", "a"]);
    theirs(&["-b", "-H", "sha512", "pw", "bob", "pä ss"]);
    room.run(&["-b", "-H", "argon2id", "pw", "carl", "c"]).succeeds();
    let contents = room.read("pw");
    assert_eq!(verify(&contents, "ann", "a"), Verdict::Accepted);
    assert_eq!(verify(&contents, "ann", "b"), Verdict::WrongPassword);
    assert_eq!(verify(&contents, "bob", "pä ss"), Verdict::Accepted);
    let text = PasswordText::parse(&contents);
    let schemes = text.entries().map(|e| PasswordHash::parse(e.value).unwrap().scheme());
    let schemes: Vec<_> = schemes.collect();
    let mosquittos = [Scheme::Pbkdf2Sha512 { iterations: 101 }, Scheme::Sha512];
    assert_eq!(schemes[..2], mosquittos, "what Mosquitto 2.0.11 writes");

    // Their tool edits a file that ours wrote, and leaves our lines alone.
    theirs(&["-D", "pw", "ann"]);
    theirs(&["-b", "pw", "dora", "d"]);
    let after = room.read("pw");
    assert_eq!(verify(&after, "ann", "a"), Verdict::UnknownUser);
    assert_eq!(verify(&after, "dora", "d"), Verdict::Accepted);
    let line = |contents: &str| contents.lines().find(|l| l.starts_with("carl:")).map(String::from);
    assert_eq!(line(&after), line(&contents));
}

#[test]
fn debians_broker_lets_our_users_in() {
    if !["mosquitto", "mosquitto_pub"].into_iter().all(has_peer) {
        return;
    }
    let room = Room::new();
    room.run(&["-cb", "pw", "ann", "a"]).succeeds();
    room.run(&["-b", "-H", "sha512", "pw", "bob", "pä ss"]).succeeds();
    room.run(&["-b", "-I", "101", "pw", "carl", "c"]).succeeds();
    room.write("plain", "dora:d d\n");
    room.run(&["-U", "plain"]).succeeds();
    room.write("pw", &format!("# ours\n{}{}", room.read("pw"), room.read("plain")));
    let broker = Mosquitto::start(&room);
    for (user, password, code) in [
        ("ann", "a", 0),
        ("ann", "b", 5),
        ("bob", "pä ss", 0),
        ("bob", "pä s", 5),
        ("carl", "c", 0),
        ("dora", "d d", 0),
        ("nobody", "a", 5),
    ] {
        assert_eq!(broker.publish_code(user, password), code, "{user} {password}");
    }
}

/// Debian's broker on a free port with `pw` as its password file; killed when dropped.
struct Mosquitto {
    process: Child,
    port: u16,
}

impl Mosquitto {
    fn start(room: &Room) -> Self {
        // Another process may take the port between here and the broker's start: then once more.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let conf = format!(
                "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nuser root\n",
                room.path("pw").display()
            );
            room.write("mosquitto.conf", &conf);
            let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
                .into_iter()
                .find(|program| Path::new(program).is_file())
                .unwrap_or("mosquitto");
            let mut command = room.command(program, &["-c", "mosquitto.conf"]);
            let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { process, port };
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("mosquitto does not start");
    }

    fn publish_code(&self, user: &str, password: &str) -> i32 {
        let port = self.port.to_string();
        let output = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-u", user, "-P", password])
            .args(["-t", "t", "-m", "m", "-q", "1"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        output.status.code().unwrap_or(-1)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
