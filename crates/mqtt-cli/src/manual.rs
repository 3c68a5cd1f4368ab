//! What is to be said about each tool beyond its flags: the sections of its man page and of its
//! reference. How they are written out is in `generate.rs`.

// tidy: dictionary

use clap::{Command, CommandFactory};

use crate::args::{PubCli, RrCli, SubCli};
use crate::ctrl::args::CtrlCli;

/// A tool and what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct Manual {
    /// `mqtt-pub`.
    pub name: &'static str,
    /// Its letter in [`crate::args::mosquitto::FLAGS`].
    pub letter: char,
    /// Its table of arguments.
    pub command: fn() -> Command,
    /// What stands behind the flags.
    pub sections: &'static [Section],
}

/// A section: a text, then terms and their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Paragraphs, a line each.
    pub text: &'static str,
    /// Terms and their meaning.
    pub rows: &'static [(&'static str, &'static str)],
}

/// The tools.
pub const MANUALS: &[Manual] = &[
    Manual {
        name: "mqtt-pub",
        letter: 'p',
        command: PubCli::command,
        sections: &[JSON_LINES, NAMES, FILES, ENVIRONMENT, PUB_EXIT],
    },
    Manual {
        name: "mqtt-sub",
        letter: 's',
        command: SubCli::command,
        sections: &[FORMAT, OUTPUT, NAMES, FILES, SUB_ENVIRONMENT, SUB_EXIT],
    },
    Manual {
        name: "mqtt-rr",
        letter: 'r',
        command: RrCli::command,
        sections: &[FORMAT, NAMES, FILES, SUB_ENVIRONMENT, SUB_EXIT],
    },
    Manual {
        name: "mqtt-ctrl",
        letter: 'c',
        command: CtrlCli::command,
        sections: &[CTRL_COMMANDS, CTRL_SHELL, CTRL_FILES, ENVIRONMENT, CTRL_EXIT],
    },
    Manual {
        name: "mqtt-passwd",
        letter: 'w',
        command: crate::passwd::command,
        sections: &[PASSWD_FILE, PASSWD_EXIT],
    },
];

/// The manual of a tool.
pub fn of(name: &str) -> Option<&'static Manual> {
    MANUALS.iter().find(|manual| manual.name == name)
}

const NAMES: Section = Section {
    title: "Under Mosquitto's names",
    text: "Called as mosquitto_pub, mosquitto_sub or mosquitto_rr (by a link, for example), the \
           tools write Mosquitto's messages to stderr and end with its exit codes, also where ours \
           are clearer. Every flag takes the word behind it as its value, whatever it looks like.",
    rows: &[],
};

const FILES: Section = Section {
    title: "Files",
    text: "A line is a flag and its value; # begins a comment. Flags on the command line win. \
           Folders are below $XDG_CONFIG_HOME if that is set.",
    rows: &[
        ("~/.config/mqtt-pub, mqtt-sub, mqtt-rr", "default flags of one tool"),
        (
            "~/.config/mosquitto_pub, mosquitto_sub, mosquitto_rr",
            "the same, read when there is none under our name",
        ),
        (
            "~/.config/mqtt-profiles",
            "for all tools: the lines below [NAME] are taken with --profile NAME",
        ),
    ],
};

const ENVIRONMENT: Section = Section {
    title: "Environment",
    text: "",
    rows: &[
        ("MQTT_PASSWORD", "the password, if a user is given and no password"),
        (
            "CREDENTIALS_DIRECTORY",
            "set by systemd: its file mqtt-password (LoadCredential=mqtt-password:…) holds the \
             password, if a user is given, no password, and no MQTT_PASSWORD",
        ),
        ("XDG_CONFIG_HOME, HOME", "where the files above are"),
    ],
};

const SUB_ENVIRONMENT: Section = Section {
    title: "Environment",
    text: "",
    rows: &[
        ENVIRONMENT.rows[0],
        ENVIRONMENT.rows[1],
        ENVIRONMENT.rows[2],
        ("NO_COLOR", "no colours, whatever its value, if it has one"),
        ("TZ", "the time zone of %I, %j, @-conversions and --csv"),
    ],
};

const PUB_EXIT: Section = Section {
    title: "Exit codes",
    text: "Under the name mosquitto_pub a refused message does not count, as there.",
    rows: &[
        ("0", "done; each message of QoS 1 or 2 was acknowledged"),
        (
            "1",
            "a mistake on the command line, no connection, an unreadable file, or messages that \
             were refused or not acknowledged (stderr says how many)",
        ),
        SUB_EXIT.rows[2],
        SUB_EXIT.rows[3],
        SUB_EXIT.rows[5],
    ],
};

const SUB_EXIT: Section = Section {
    title: "Exit codes",
    text: "",
    rows: &[
        ("0", "done, also when SIGINT or SIGTERM was the end, or a reader that closed the pipe"),
        (
            "1",
            "a mistake on the command line, no connection, an unreadable file, or every \
             subscription was refused",
        ),
        ("7", "the connection was lost and does not come back"),
        ("8", "TLS failed; under the name mosquitto_… only when the connection broke, else 1"),
        ("27", "-W ran out"),
        (
            "other",
            "the broker refused the connection: the code of its CONNACK, 1 to 5 before MQTT 5.0, \
             from 128 on in 5.0",
        ),
    ],
};

const JSON_LINES: Section = Section {
    title: "JSON lines",
    text: "--json-lines and --replay read one object a line, as mqtt-sub --json and --record write \
           it. All but the topic may be missing; -t, -q and -r stand in.",
    rows: &[
        ("topic", "where to publish"),
        ("payload", "a string is taken as it is, another value as its JSON text, null as empty"),
        ("payload_base64", "instead of payload, for bytes that are no text"),
        ("qos", "0, 1 or 2"),
        ("retain", "true or false"),
        (
            "properties",
            "an object: content-type, correlation-data (or correlation-data_base64), \
             message-expiry-interval, payload-format-indicator, response-topic, and \
             user-properties as a list of {\"name\": \"value\"}; they need -V 5",
        ),
        ("time", "nanoseconds since 1970; --replay keeps the distances"),
    ],
};

const FORMAT: Section = Section {
    title: "Format of -F",
    text: "Between % and the letter may stand, as in printf: - (left), 0 (zeros), a width, a dot \
           and a precision. @ and a letter is strftime's % and that letter. \\\\, \\0, \\a, \\e, \
           \\n, \\r, \\t, \\v are what they are in C.",
    rows: &[
        ("%t", "topic"),
        ("%p", "payload"),
        ("%x %X", "payload in hexadecimal, small or large letters; %:x sets : between bytes"),
        ("%d %f", "payload of 8 or 4 bytes as a number with a fraction"),
        ("%l", "length of the payload"),
        ("%q", "QoS"),
        ("%r", "retain: 0 or 1"),
        ("%m", "packet identifier"),
        ("%I", "time of arrival, ISO 8601"),
        ("%U", "time of arrival, seconds since 1970 and nanoseconds"),
        ("%j", "all of it as JSON, the payload as a string"),
        ("%J", "all of it as JSON, the payload as JSON"),
        ("%A", "topic alias (5.0)"),
        ("%C", "content type (5.0)"),
        ("%D", "correlation data (5.0)"),
        ("%E", "message expiry interval (5.0)"),
        ("%F", "payload format indicator (5.0)"),
        ("%P", "user properties, name:value (5.0)"),
        ("%R", "response topic (5.0)"),
        ("%S", "subscription identifier (5.0)"),
        ("%% @@", "a % or @"),
        ("@N", "nanoseconds"),
    ],
};

const OUTPUT: Section = Section {
    title: "Output",
    text: "",
    rows: &[
        ("(nothing)", "the payload and a newline; nothing for an empty payload"),
        ("-v", "topic, blank, payload; (null) for an empty payload"),
        (
            "--json",
            "an object a line: time (nanoseconds since 1970), topic, payload or, for bytes that \
             are no text, payload_base64, qos, retain, properties",
        ),
        (
            "--csv",
            "time, topic, qos, retain, payload; quoted as in RFC 4180; bytes that are no text as \
             base64:…",
        ),
        ("-0", "a NUL byte in place of each newline"),
        ("--record FILE", "what --json prints, into FILE as well"),
    ],
};

const CTRL_COMMANDS: Section = Section {
    title: "Commands",
    text: "The words behind the flags are a module, a command and what it wants. With \
           \"dynsec help\" the tool lists all commands of dynamic security with their words. The \
           broker has to have the plugin mosquitto_dynamic_security in its configuration, or \
           enable_control_api for the module broker; the tool says so when nobody answers, in 5.0 \
           at once, in 3.x three seconds after the broker has acknowledged the command.\n\
           setDefaultACLAccess says allow true or false, which the plugin understands; \
           mosquitto_ctrl 2.0.11 says access, which it does not. A password that is not given is \
           asked for.",
    rows: &[
        ("dynsec init FILE ADMIN [PASSWORD]", "write a first file, readable by its owner only"),
        ("dynsec createClient USER [-i ID] [-p PASSWORD]", "and the other commands for users"),
        ("dynsec createGroup GROUP", "and the other commands for groups"),
        ("dynsec createRole ROLE", "and the other commands for roles"),
        (
            "-f FILE dynsec setClientPassword USER [PASSWORD] [-i ITERATIONS]",
            "changes the file while no broker uses it (2.1)",
        ),
        ("broker listListeners", "ports, protocols and addresses (2.1)"),
        ("broker listPlugins", "plugins and the topics they listen on (2.1)"),
    ],
};

const CTRL_SHELL: Section = Section {
    title: "One command after the other",
    text: "Without a module the tool asks for commands, as mosquitto_ctrl 2.1 does. It connects at \
           once when -h, -p, -L or --unix is given. On a terminal the arrow keys bring earlier \
           lines back and the tab key completes commands, users, groups, roles and kinds of \
           access; the history is kept in memory only, since there may be passwords in it. From a \
           pipe the commands are read as lines, and the first that fails ends the tool with its \
           exit code.",
    rows: &[
        ("help [COMMAND]", "what can be typed here"),
        ("auth [USER]", "log in with a user; asks for the password"),
        ("connect [URL]", "mqtt://, mqtts://, ws:// or wss://HOST[:PORT]"),
        ("dynsec, broker", "enter a module; its commands are those above, without its name"),
        (
            "addRoleACL ROLE ACLTYPE allow|deny [PRIORITY] TOPIC",
            "the topic is last here; the other order is taken too",
        ),
        ("createClient USER [PASSWORD [ID]]", "without flags here"),
        ("getDetails", "how many users, groups and roles there are"),
        (
            "modifyClient|modifyGroup|modifyRole NAME textName|textDescription TEXT",
            "texts of your own",
        ),
        ("modifyRole ROLE allowWildcardSubs true|false", "may its members subscribe to wildcards"),
        ("return, disconnect, exit", "leave the module, the broker, the tool"),
    ],
};
const CTRL_FILES: Section = Section {
    title: "Files",
    text: FILES.text,
    rows: &[
        ("~/.config/mqtt-ctrl", "default flags"),
        ("~/.config/mosquitto_ctrl", "the same, read when there is none under our name"),
        FILES.rows[2],
    ],
};

const CTRL_EXIT: Section = Section {
    title: "Exit codes",
    text: "Under the name mosquitto_ctrl the code is 0 also when the broker refuses or does not \
           answer, as there; the message is the same.",
    rows: &[
        ("0", "done"),
        ("1", "the broker refused the connection or the command, or did not answer"),
        ("3", "a command lacks a word or has a wrong one"),
        SUB_EXIT.rows[2],
        SUB_EXIT.rows[3],
        ("10", "no such module"),
        ("13", "no such command"),
        ("14", "no connection to the host"),
        ("15", "the host is not known"),
    ],
};

const PASSWD_FILE: Section = Section {
    title: "The file",
    text: "A line is user:hash. The file is replaced in one step, so a crash leaves the old one or \
           the new one; its mode and owner stay. A new one is readable by its owner only. A \
           symbolic link is refused: name the file itself. A second instance waits, for 5 seconds \
           at most. The broker takes changes over when it is told to reload (SIGHUP).\n\
           Without a terminal the password is read from standard input, twice, each on a line.",
    rows: &[],
};

const PASSWD_EXIT: Section = Section {
    title: "Exit codes",
    text: "",
    rows: &[
        ("0", "done"),
        ("1", "error; nothing was changed"),
        ("2", "the two passwords differ"),
        ("10", "the hash could not be computed"),
    ],
};
