//! The command line of `mqtt-ctrl`: flags about the connection, then a module, a command and its
//! words.

use std::path::PathBuf;

use clap::Parser;
use mqtt_client::QoS;

use crate::args::connection::ConnectionArgs;
use crate::args::secret::SecretArgs;
use crate::args::tls::TlsArgs;
use crate::args::{GeneralArgs, Tool, parse};

const AFTER: &str = "\
Modules:
  dynsec    users, groups, roles and what they may do; \"mqtt-ctrl dynsec help\" lists the commands
  broker    listListeners, listPlugins: what a broker of Mosquitto 2.1 has

Examples:
  mqtt-ctrl dynsec init users.json admin                      begin, with a user that may do this
  mqtt-ctrl -u admin dynsec createClient sensor               add a user; asks for both passwords
  mqtt-ctrl -u admin dynsec createRole readings
  mqtt-ctrl -u admin dynsec addRoleACL readings publishClientSend 'readings/#' allow
  mqtt-ctrl -u admin dynsec addClientRole sensor readings
  mqtt-ctrl -h broker --tls -u admin dynsec listClients
  mqtt-ctrl -u admin broker listListeners
  mqtt-ctrl -f users.json dynsec setClientPassword sensor     while the broker is down
  mqtt-ctrl -h broker -u admin                                commands one after the other

The broker needs the line \"plugin …/mosquitto_dynamic_security.so\" in its configuration.";

/// `mqtt-ctrl` changes a running broker.
#[derive(Parser, Debug)]
#[allow(missing_docs, reason = "each field is described where its struct is")]
#[command(
    name = "mqtt-ctrl",
    version,
    about = "Administer the users and roles of a running broker",
    override_usage = "mqtt-ctrl [-h HOST] [-u USERNAME] dynsec COMMAND [WORD]…\n       \
        mqtt-ctrl [-h HOST] [-u USERNAME] broker COMMAND\n       \
        mqtt-ctrl dynsec init FILE ADMIN [PASSWORD]\n       \
        mqtt-ctrl -f FILE dynsec setClientPassword USERNAME [PASSWORD] [-i ITERATIONS]\n       \
        mqtt-ctrl [-h HOST] [-u USERNAME]   (asks for commands)",
    after_help = AFTER,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct CtrlCli {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// QoS of the requests: 0, 1 or 2
    #[arg(
        short = 'q', long, value_name = "QOS", default_value = "1", value_parser = parse::qos,
        help_heading = "Connection"
    )]
    pub qos: QoS,
    /// Change FILE of dynamic security instead of asking a broker (setClientPassword)
    #[arg(short = 'f', long, value_name = "FILE", help_heading = "General")]
    pub file: Option<PathBuf>,
    /// Without effect, as there
    #[arg(short = 'v', long, hide = true)]
    pub verbose: bool,
    #[command(flatten)]
    pub secret: SecretArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
    #[command(flatten)]
    pub general: GeneralArgs,
    /// Module, command and its words; they are taken off before the flags are read
    #[arg(skip)]
    pub words: Vec<String>,
}

impl Tool for CtrlCli {
    const FILES: [&'static str; 2] = ["mqtt-ctrl", "mosquitto_ctrl"];
    fn general(&self) -> &GeneralArgs {
        &self.general
    }
    const HAS_WORDS: bool = true;
    fn take_words(&mut self, words: &[String]) {
        self.words = words.to_vec();
    }
}
