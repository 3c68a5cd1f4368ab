//! Random and mutated files: a load ends with a configuration or with errors that point into the
//! file, and never panics. The seed is printed; `MQTTD_SEED` sets it.

use std::path::Path;

use mqttd_conf::{Config, Memory, diff, rows};

struct Random(fastrand::Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn seed() -> u64 {
    let given = std::env::var("MQTTD_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(0x6d71_7474_6400_0001);
    println!("MQTTD_SEED={seed}");
    seed
}

const WORDS: &[&str] = &[
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "1883",
    "65536",
    "99999999999999999999",
    "0x",
    "#",
    "# x",
    "/a b",
    "a/#",
    "+",
    "\"",
    "\"\"",
    "\"a b\"",
    "out",
    "in",
    "both",
    "file",
    "file /x",
    "all",
    "d",
    "3d",
    "ü",
    "9223372036854775807y",
    "[::1]:1",
    "::",
    ":",
    "\t",
    "\u{a0}",
    "\0",
    "3,4,5",
    "sync",
    "mqtt",
    "websockets",
    "/",
    "/d",
    "%",
];

fn random_line(random: &mut Random, names: &[&str]) -> String {
    let mut line = match random.below(8) {
        0 => (*random.pick(WORDS)).to_owned(),
        _ => (*random.pick(names)).to_owned(),
    };
    for _ in 0..random.below(5) {
        line.push_str(random.pick::<&str>(&[" ", "\t", "  ", " \u{a0}", ""]));
        line.push_str(random.pick::<&str>(WORDS));
    }
    line
}

fn check(bytes: &[u8]) -> Option<Config> {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let source = Memory::default().with("/m", bytes).with("/d/a.conf", bytes);
    match Config::load(&source, Path::new("/m")) {
        Ok((config, _)) => {
            assert!(!config.listeners.is_empty());
            assert!(diff(&config, &config).is_empty());
            Some(config)
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!((1..=lines).contains(&(error.place.line as usize)), "{error}");
            }
            None
        }
    }
}

#[test]
fn random_lines_never_panic() {
    let mut random = Random(fastrand::Rng::with_seed(seed()));
    let names: Vec<&str> = rows().map(|row| row.name).collect();
    let mut loaded = 0;
    for _ in 0..6_000 {
        let count = 1 + random.below(6);
        let lines: Vec<String> = (0..count).map(|_| random_line(&mut random, &names)).collect();
        let end = if random.below(2) == 0 { "\n" } else { "\r\n" };
        loaded += usize::from(check(lines.join(end).as_bytes()).is_some());
    }
    assert!(loaded > 30, "{loaded} files were valid: the words no longer reach the rows");
}

#[test]
fn mutated_files_never_panic() {
    let mut random = Random(fastrand::Rng::with_seed(seed()));
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir("tests/conf").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            corpus.push(std::fs::read(path).unwrap());
        }
    }
    corpus.push(rows().map(|row| format!("{}\n", row.example)).collect::<String>().into_bytes());
    let mut before = Config::default();
    for _ in 0..1_500 {
        let mut bytes = random.pick(&corpus).clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() + 1);
            match random.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.0.u8(..)),
                2 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len()))),
                _ => {
                    let word = random.pick(WORDS).as_bytes().to_vec();
                    bytes.splice(at..at, word);
                }
            }
        }
        if let Some(config) = check(&bytes) {
            let _ = diff(&before, &config);
            before = config;
        }
    }
}
