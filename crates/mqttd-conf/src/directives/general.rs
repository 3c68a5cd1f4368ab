//! Rows of the process: its files, its user, its threads.

use std::time::Duration;

use crate::directive::{
    Directive,
    Meaning::{Global, Section},
    Section as Opens, Status,
    Value::{Flag, Ignored, Integer, Path, Text},
};

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "include_dir",
        Section(Opens::Include, "a folder"),
        "",
        "include_dir /etc/mqttd/conf.d",
        "Reads every file of this folder whose name ends in `.conf` at this point, in \
         alphabetical order, `A` before `a` before `B`. Only the main file may include a folder.",
    )
    .repeats(),
    Directive::new(
        "user",
        Global(Text(|draft, name| draft.config.general.user = Some(name))),
        "mqttd where there is one, else stay",
        "user mqttd",
        "The user to become when started as root. Log, password and certificate files, and \
         ports, are used as that user.",
    )
    .at_start(),
    Directive::new(
        "pid_file",
        Global(Path(|draft, path| draft.config.general.pid_file = Some(path))),
        "",
        "pid_file /run/mqttd/mqttd.pid",
        "A file that holds the number of the process while it runs.",
    )
    .at_start(),
    Directive::new(
        "threads",
        Global(Integer(0, 1024, |draft, n| {
            draft.config.general.threads = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "threads 2",
        "Threads that carry the shards; 0 takes as many as there are cores. Not in Mosquitto.",
    )
    .at_start(),
    Directive::new(
        "shards",
        Global(Integer(0, 1024, |draft, n| {
            draft.config.general.shards = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "shards 4",
        "Parts the sessions are divided into; 0 takes one for every core. Not in Mosquitto.",
    )
    .at_start(),
    Directive::new(
        "sys_interval",
        Global(Integer(0, 65535, |draft, n| {
            let seconds = u64::try_from(n).ok().filter(|n| *n > 0);
            draft.config.general.sys_interval = seconds.map(Duration::from_secs);
        })),
        "10",
        "sys_interval 60",
        "Seconds between updates of the `$SYS` topics; 0 switches them off.",
    ),
    Directive::new(
        "set_tcp_nodelay",
        Global(Ignored),
        "",
        "set_tcp_nodelay true",
        "In Mosquitto, sets TCP_NODELAY on the sockets of clients: small packets leave at once, at \
         the price of more of them.",
    )
    .status(Status::Unnecessary(
        "TCP_NODELAY is always set; packets that are ready together leave together",
    )),
    Directive::new(
        "per_listener_settings",
        Global(Flag(|draft, on| draft.config.general.per_listener_settings = on)),
        "false",
        "per_listener_settings true",
        "With true, `allow_anonymous`, `password_file`, `acl_file`, `psk_file`, \
         `auto_id_prefix` and `allow_zero_length_clientid` belong to the listener above them \
         instead of to all.",
    )
    .at_start(),
    Directive::new(
        "enable_control_api",
        Global(Flag(|draft, on| draft.config.general.enable_control_api = on)),
        "false",
        "enable_control_api true",
        "Answers requests published to `$CONTROL/broker/v1`, as `mqtt-ctrl broker` makes them: \
         which listeners and plugins there are. Who may publish there may ask.",
    ),
];
