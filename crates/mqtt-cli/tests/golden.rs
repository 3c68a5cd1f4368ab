//! Our tools beside Debian's on the same inputs: the same bytes on stdout and stderr, the same exit
//! codes.

mod world;

use world::{World, run, said};

/// Formats and a payload; each is printed from a retained message, so nothing depends on time.
const FORMATS: &[(&str, &str)] = &[
    ("[%10t][%-10t][%010l][%2.1t][%.2t][%5l]", "hello"),
    ("[%x][%X][%12x][%-12x][%012X][%3x][%1x][%9X][%8x]", "hello"),
    ("[%-3m][%3m][%03m][%10p][%-10p][%3p][%-3p]", "hello"),
    ("[%5C][%-5C][%5R][%5E][%05E][%-5E][%3F][%03F][%5A][%05A][%5S]", "x"),
    ("@Y@m@d|@@|%%|\\n\\t\\0\\a\\e\\r\\v\\\\|@Z@z", "x"),
    ("@E @O @Q @L @K @J @i @o @q @v @f @1", "x"),
    ("@a @A @b @B @C @d @D @e @F @g @G @h @j @m @u @U @V @w @W @x @y @Y @z @Z", "x"),
    ("%q %r %l %p|%P|%D", "binary \u{1} ü"),
    ("no specifier", "x"),
    ("", "x"),
    ("%J", "{\"b\":1.0, \"a\":[1,2.50,1e5,true,null,\"\\u00e9\\n\"], \"n\":1e300}"),
];

/// What 2.0 prints and 2.1, which we follow, does not: the flag as a number, a `Z` in the time.
fn as_2_1(text: &str) -> String {
    let mut text = text.replace("\"retain\":1", "\"retain\":true").replace("Z+", "+");
    text = text.replace("\"retain\":0", "\"retain\":false");
    if let Some(at) = text.find("\"tst\":\"") {
        let end = at + 7 + text[at + 7..].find('"').unwrap();
        let shape: String = text[at + 7..end]
            .chars()
            .map(|char| if char.is_ascii_digit() { '0' } else { char })
            .collect();
        text.replace_range(at + 7..end, &shape);
    }
    text
}

#[test]
fn formats() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for (number, (format, payload)) in FORMATS.iter().enumerate() {
        let topic = format!("format/{number}");
        world.retain(&["-t", &topic, "-m", payload, "-q", "1"]);
        for args in [&["-V", "311"][..], &["-V", "5", "-q", "2", "-N"]] {
            let common = ["-t", &topic, "-C", "1", "-W", "5", "-F", format];
            let theirs = said(&run(world.theirs("mosquitto_sub").args(common).args(args)));
            let ours = said(&run(world.ours("sub").args(common).args(args)));
            assert_eq!(as_2_1(&ours.1), as_2_1(&theirs.1), "{format} {args:?}");
            assert_eq!((ours.0, &ours.2), (theirs.0, &theirs.2), "{format}");
        }
    }
}

#[test]
fn properties_and_json() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    #[rustfmt::skip]
    world.retain(&[
        "-t", "p", "-m", "a\"b\\c\n\té", "-q", "2", "-V", "5",
        "-D", "publish", "content-type", "text/plain",
        "-D", "publish", "correlation-data", "cd",
        "-D", "publish", "response-topic", "r/t",
        "-D", "publish", "payload-format-indicator", "1",
    ]);
    world.retain(&["-t", "u", "-m", "x", "-D", "publish", "user-property", "k", "v"]);
    for (topic, format) in
        [("p", "%C|%D|%R|%F|%E|%A|%S|[%5C][%-12C][%.2C][%5.2R][%03F]"), ("p", "%j"), ("u", "%P|")]
    {
        for extra in [&[][..], &["--pretty"]] {
            let common = ["-V", "5", "-q", "2", "-t", topic, "-C", "1", "-W", "5", "-F", format];
            let theirs = run(world.theirs("mosquitto_sub").args(common).args(extra));
            let ours = run(world.ours("sub").args(common).args(extra));
            let (theirs, ours) = (said(&theirs), said(&ours));
            let flat = |text: &str| match extra {
                [] => as_2_1(text),
                // cJSON's blanks, too; only the flag differs between the versions.
                _ => as_2_1(&text.replace("\"retain\":\t1", "\"retain\":\ttrue")),
            };
            let no_time = |text: String| match text.find("\"tst\"") {
                Some(at) => text[at + 40..].to_owned(),
                None => text,
            };
            assert_eq!(no_time(flat(&ours.1)), no_time(flat(&theirs.1)), "{format} {extra:?}");
            assert_eq!(ours.0, theirs.0);
        }
    }
}

#[test]
fn plain_and_verbose_output() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "v/1", "-m", "one"]);
    world.retain(&["-t", "v/2", "-m", "two\nlines"]);
    for args in [&[][..], &["-v"], &["-N"], &["-v", "-N"], &["-T", "v/1"], &["--retained-only"]] {
        let common = ["-t", "v/#", "-C", "1", "-W", "5"];
        let theirs = said(&run(world.theirs("mosquitto_sub").args(common).args(args)));
        let ours = said(&run(world.ours_as("mosquitto_sub").args(common).args(args)));
        assert_eq!(ours, theirs, "{args:?}");
    }
    let common = ["-t", "v/1", "-R", "-W", "1", "-v"];
    let theirs = said(&run(world.theirs("mosquitto_sub").args(common)));
    let ours = said(&run(world.ours("sub").args(common)));
    assert_eq!(ours, theirs);
    assert_eq!(ours, (27, String::new(), "Timed out\n".to_owned()));
}

#[rustfmt::skip]
const MISTAKES: &[(&str, &[&str])] = &[
    ("pub", &[
        "-t a/# -m x", "-t a -m x -q 3", "-t a -m x -q -1", "-t a -m x -k 2", "-t a -m x -V 9",
        "-t", "-m", "-h", "-p", "-q", "-u", "-P", "-i", "-I", "-k", "-V", "-f", "-M", "-x", "-L",
        "-A", "--cafile", "--capath", "--cert", "--key", "--tls-version", "--will-topic",
        "--will-payload", "--will-qos", "--repeat", "--repeat-delay", "--unix", "--proxy",
        "--foo", "-t a -m x -n", "-t a -m x -p 70000", "-t a -m x -p -1", "-x -5 -t a -m x",
        "-t a -f /nonexistent", "-c -t a -m x", "-D", "-D publish", "-D publish content-type",
        "-D publish user-property a", "-D publish foo bar -t a -m b",
        "-D foo topic-alias 3 -t a -m b", "-D connect topic-alias 3 -t a -m b",
        "-D publish topic-alias 70000 -t a -m b", "--will-payload x -t a -m x",
        "--will-qos 1 -t a -m x", "--will-retain -t a -m x", "-L foo://x -m y",
        "-t a -m x -i a -I b", "-t a -m x -M 0", "-t a -m x -P pw", "--will-qos 4",
        "-t a -m b --psk 12", "-t a -m b --repeat 0", "-t a -m b --repeat x",
        "-t a -m b --repeat-delay -1", "-t a -m b --cert x", "--will-topic a/# -t a -m b",
        "-t a -m b -C 1", "-t a -m b -p 1", "-t a -m b -h nosuch.invalid",
        "-t a -m x -A nosuch.invalid", "-t a -m x -A localhost", "-t a -m x --keyform pem",
        "-t a -m x --cafile /nonexistent", "-t a -m x --tls-use-os-certs",
        "-t a -m x --ciphers x", "-t a -m x --psk 1 --psk-identity i --cafile x", "-t a -s",
        "-t a -m x -V 311 -D publish content-type x", "-t a -m x --psk-identity i",
        "--will-payload x", "--will-retain", "-i a -I b", "--psk 12", "--cafile f --psk 12",
        "--cert f", "--key f", "--keyform f", "--tls-engine", "--tls-engine-kpass-sha1",
        "-V 311 -c", "-V 5 -x -1", "--tls-engine-kpass-sha1 x",
        "-t a -m b --psk zz --psk-identity i", "--proxy invalid://host", "-x A",
        "-V 5 -t a -m b -D publish subscription-identifier 1", "-V 5 -D auth reason-string x",
        "-V 5 -D puback user-property a b", "-V 5 -D pubact reason-string x",
        "-t a -m b --unix /nonexistent", "-t a -m hello", "-t a -m hello -q 1", "-t a -n -q 2",
    ]),
    ("sub", &[
        "", "-t a#", "-t", "-t a -C 0", "-t a -W 0", "-t a -T b#", "-t a -U b#", "-t a -F",
        "-t a -s", "-t a -R --retained-only", "-t a --random-filter 0", "-t a -F %z",
        "-t a -F %", "-t a -F \\q", "-t a -F @", "-t a -m x", "-t a -C", "-t a -W", "-T", "-U",
        "-c -t a", "-t a -E", "-t a -E -C 1", "-t a -p 1", "-t a -h nosuch.invalid",
        "-V 5 -t a -E -x 3 -i z", "-t a -V 5 -D publish content-type x -E",
        "-t a -E --retain-as-published", "-t a --tls-use-os-certs", "--random-filter",
        "-i a -I b", "-F %", "-F %0", "-F %.1", "-F %Z", "-F @", "-F \\Z",
        "--proxy invalid://host", "-x A", "--will-payload x",
    ]),
    ("rr", &[
        "-e", "-i a -I b", "-F %", "--will-payload x", "-x A", "", "-t a", "-t a -e b",
        "-t a -m x", "-e b -m x", "-t a -e b# -m x", "-t a/+ -e b -m x", "-t a -e b -m x -W 1",
        "-t a -e b -m x -p 1",
    ]),
];

/// Mosquitto prints its whole help when nothing is to be published; the first line is compared.
fn first_line_if_help(text: String) -> String {
    match text.contains("\nUsage: ") {
        true => text.lines().next().unwrap_or_default().to_owned(),
        false => text,
    }
}

#[test]
fn mistakes_and_exit_codes() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for (tool, lines) in MISTAKES {
        let name = format!("mosquitto_{tool}");
        for line in *lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (code, out, err) = said(&run(world.theirs(&name).args(&words)));
            let theirs = (code, out, first_line_if_help(err));
            let ours = said(&run(world.ours_as(&name).args(&words)));
            assert_eq!(ours, theirs, "{name} {line}");
            // Under our own name the words may be better, the exit code is the same; except where
            // Mosquitto's tool takes no notice of a flag, or does not like an empty stdin.
            let is_other = ["-V 311 -D", "-E --retain-as", "-t a -s"];
            if !is_other.iter().any(|part| line.contains(part)) {
                let (code, ..) = said(&run(world.ours(tool).args(&words)));
                assert_eq!(code, theirs.0, "mqtt-{tool} {line}");
            }
        }
    }
}

#[test]
fn nothing_to_publish_is_said_in_mosquittos_first_line() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for line in [&["-m", "x"][..], &["-t", "a"], &[]] {
        let (code, _, err) = said(&run(world.theirs("mosquitto_pub").args(line)));
        let ours = said(&run(world.ours_as("mosquitto_pub").args(line)));
        assert_eq!(ours.0, code);
        assert_eq!(ours.2.lines().next(), err.lines().next());
    }
}

#[test]
fn refused_connections() {
    let Some(()) = world::peers() else { return };
    let world = World::closed();
    for version in ["31", "311", "5"] {
        for login in [&[][..], &["-u", "alice", "-P", "wrong"]] {
            for (tool, rest) in [("pub", &["-t", "a", "-m", "x"][..]), ("sub", &["-t", "a"])] {
                let name = format!("mosquitto_{tool}");
                let args: Vec<&str> =
                    ["-V", version].into_iter().chain(rest.iter().copied()).collect();
                let theirs = said(&run(world.theirs(&name).args(&args).args(login)));
                let ours = said(&run(world.ours_as(&name).args(&args).args(login)));
                assert_eq!(ours, theirs, "{name} -V {version} {login:?}");
                let own = said(&run(world.ours(tool).args(&args).args(login)));
                assert_eq!(own.0, if version == "5" { 135 } else { 5 });
                assert_eq!(own.2.lines().count(), 1, "one clear line: {}", own.2);
            }
        }
        let args = ["-V", version, "-u", "alice", "-P", "secret", "-t", "a", "-m", "x", "-q", "2"];
        assert_eq!(said(&run(world.ours("pub").args(args))), (0, String::new(), String::new()));
    }
}

#[test]
fn debug_lines_of_a_publisher() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    for args in [
        &["-m", "hello"][..],
        &["-m", "hello", "-q", "1", "-i", "me"],
        &["-n", "-q", "2", "-r"],
        &["-m", "x", "--repeat", "2"],
    ] {
        let common = ["-d", "-t", "d"];
        let theirs = said(&run(world.theirs("mosquitto_pub").args(common).args(args)));
        let ours = said(&run(world.ours("pub").args(common).args(args)));
        // With several messages, when answers come among them is a matter of time.
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours.1), sorted(&theirs.1), "{args:?}");
        assert_eq!(ours.0, theirs.0);
    }
}
