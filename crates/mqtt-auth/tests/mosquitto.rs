//! The same ACL files and the same publishes, put to `AclTable` and to Debian's `mosquitto`: both
//! must decide alike. Files and questions come from a seed, plus one file with the known quirks.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_auth::{AclTable, Action, PasswordHash, Scheme, Who};
use tempfile::TempDir;

const USERS: [&str; 4] = ["ann", "x/y", "a+b", "c1"];
const CLIENT_IDS: [&str; 4] = ["c1", "ann", "c+", "c#1"];

/// The password of each of the [`USERS`].
const PASSWORD: &str = "pw";

const QUIRKS: &str = "topic write anon/#\nuser ann\ntopic deny a/no\ntopic write a/#\n\
    topic write both\nuser a+b\ntopic write w/#\npattern deny both\npattern write dev-%c/x\n\
    pattern write u/%u/#\npattern write c/%c%c\npattern deny u/x/y/no\nuser ann\ntopic late\n\
    topic read onlyread\ntopic readwrite a b/c\n";

#[test]
fn decides_as_debians_mosquitto_does() {
    let is_missing = [BROKER, CLIENT].iter().any(|program| !Path::new(program).is_file());
    if is_missing {
        let required = std::env::var_os("MQTTD_TESTS_REQUIRE_PEERS").is_some();
        assert!(!required, "missing: apt install mosquitto mosquitto-clients");
        eprintln!("SKIPPED: mosquitto is missing: apt install mosquitto mosquitto-clients");
        return;
    }
    let quirk_topics = [
        "anon/1", "a/no", "a/yes", "both", "w/1", "dev-c1/x", "dev-c+/x", "u/ann/1", "u/x/y/1",
        "u/x/y/no", "c/c1c1", "late", "onlyread", "a b/c", "u/%u/1",
    ];
    let mut answers = compare(QUIRKS, &all_questions(&quirk_topics), "the quirks");

    let seed = 0xac1_2026_u64;
    let mut random = Random(fastrand::Rng::with_seed(seed));
    for round in 0..4 {
        let file = random.acl_file();
        let questions: Vec<_> = (0..25).map(|_| random.question()).collect();
        let (allowed, denied) = compare(&file, &questions, &format!("seed {seed:#x} {round}"));
        answers = (answers.0 + allowed, answers.1 + denied);
    }
    assert!(answers.0 > 20 && answers.1 > 20, "both answers must occur: {answers:?}");
}

struct Question {
    username: Option<&'static str>,
    client_id: &'static str,
    topic: String,
}

fn all_questions(topics: &[&str]) -> Vec<Question> {
    let mut questions = Vec::new();
    for (username, client_id) in [
        (None, "c1"),
        (Some("ann"), "c1"),
        (Some("ann"), "c+"),
        (Some("x/y"), "c1"),
        (Some("a+b"), "c1"),
    ] {
        questions.extend(
            topics.iter().filter(|topic| !topic.contains('+')).map(|topic| Question {
                username,
                client_id,
                topic: (*topic).to_owned(),
            }),
        );
    }
    questions
}

/// Puts each question to both. How often the answer was yes and no.
fn compare(acl: &str, questions: &[Question], what: &str) -> (usize, usize) {
    let table = AclTable::parse(acl).unwrap();
    let broker = Mosquitto::start(acl);
    let mut answers = (0, 0);
    for Question { username, client_id, topic } in questions {
        let who = Who { username: *username, client_id };
        let ours = table.check(&who, Action::Publish, topic);
        let theirs = broker.allows(&who, topic);
        assert_eq!(ours.is_allowed(), theirs, "{what}: {who:?} {topic}: {ours}\n{acl}");
        if theirs {
            answers.0 += 1;
        } else {
            answers.1 += 1;
        }
    }
    answers
}

struct Random(fastrand::Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn acl_file(&mut self) -> String {
        let mut file = String::from("# random\n");
        for _ in 0..10 + self.below(10) {
            let access = self.pick(&["", "read ", "write ", "readwrite ", "deny "]);
            match self.below(4) {
                0 => file += &format!("user {}\n", self.pick(&USERS)),
                1 => {
                    let levels = ["a", "c1", "+", "%c", "%u", "x-%c", "%u%c"];
                    file += &format!("pattern {access}{}\n", self.filter(&levels));
                }
                _ => {
                    let levels = ["a", "ann", "+", "c1", "%c"];
                    file += &format!("topic {access}{}\n", self.filter(&levels));
                }
            }
        }
        file
    }

    fn filter(&mut self, levels: &[&str]) -> String {
        let count = 1 + self.below(3);
        let mut levels: Vec<_> = (0..count).map(|_| self.pick(levels)).collect();
        if self.below(4) == 0 {
            levels.push("#");
        }
        levels.join("/")
    }

    fn question(&mut self) -> Question {
        let username = [None, Some(USERS[self.below(4)]), Some("ann")][self.below(3)];
        let client_id = [CLIENT_IDS[self.below(4)], "c1"][self.below(2)];
        let topic = self.filter(&["a", "ann", "c1", "x", "y", "x-c1", "%c", "$a"]);
        Question { username, client_id, topic: topic.replace('#', "a") }
    }
}

const BROKER: &str = "/usr/sbin/mosquitto";
const CLIENT: &str = "/usr/bin/mosquitto_pub";

/// Debian's broker on a free port; killed when dropped.
struct Mosquitto {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Mosquitto {
    fn start(acl: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let scheme = Scheme::Pbkdf2Sha512 { iterations: 1 };
        let hash = PasswordHash::create(scheme, PASSWORD.as_bytes(), b"twelve bytes").unwrap();
        let passwords: String = USERS.iter().map(|user| format!("{user}:{hash}\n")).collect();
        fs::write(path("pw"), passwords).unwrap();
        fs::write(path("acl"), acl).unwrap();
        // Another process may take the port between here and the broker's start: then once more.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let conf = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npassword_file {}\nacl_file {}\n\
                 user root\n",
                path("pw").display(),
                path("acl").display()
            );
            fs::write(path("conf"), conf).unwrap();
            let mut command = Command::new(BROKER);
            command.arg("-c").arg(path("conf")).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = command.spawn().unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { process, port, _folder: folder };
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("mosquitto does not start with this ACL file:\n{acl}");
    }

    /// Publishes with MQTT 5 and QoS 1, whose PUBACK says 0x87 when the ACL refuses.
    fn allows(&self, who: &Who<'_>, topic: &str) -> bool {
        let mut command = Command::new(CLIENT);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", "5", "-q", "1"]);
        command.args(["-i", who.client_id, "-t", topic, "-m", "m"]).stdin(Stdio::null());
        if let Some(name) = who.username {
            command.args(["-u", name, "-P", PASSWORD]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who:?} {topic}: {said}");
        match said.trim() {
            "" => true,
            text if text.contains("Not authorized") => false,
            text => panic!("{who:?} {topic}: {text}"),
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
